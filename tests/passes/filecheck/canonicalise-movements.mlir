// RUN: convc opt %s -p canonicalise | filecheck %s
// reshape(reshape(x)) => x of the same shape      transpose(transpose(x)) => x
!t = tensor<2x3x4xf32>
func.func @main(%x: !t) -> (!t, !t) {
  %a = convc.reshape %x : (!t) -> tensor<6x4xf32>
  %b = convc.reshape %a : (tensor<6x4xf32>) -> !t
  %c = convc.transpose %x perm [1, 2, 0] : (!t) -> tensor<3x4x2xf32>
  %d = convc.transpose %c perm [2, 0, 1] : (tensor<3x4x2xf32>) -> !t
  func.return %b, %d : !t, !t
}
// CHECK:      @main
// CHECK-NEXT: func.return %x, %x

// -----
// transpose(transpose(x)) => transpose(x)
func.func @main(%x: tensor<2x3x4xf32>) -> tensor<4x2x3xf32> {
  %c = convc.transpose %x perm [1, 0, 2] : (tensor<2x3x4xf32>) -> tensor<3x2x4xf32>
  %d = convc.transpose %c perm [2, 1, 0] : (tensor<3x2x4xf32>) -> tensor<4x2x3xf32>
  func.return %d : tensor<4x2x3xf32>
}
// CHECK:      @main
// CHECK-NEXT: %d = convc.transpose %x perm [2, 0, 1]

// -----
// transpose(x) that moves only axes of one element => reshape(x)
func.func @main(%x: tensor<2x1x1x4xf32>) -> tensor<2x4x1x1xf32> {
  %y = convc.transpose %x perm [0, 3, 1, 2] : (tensor<2x1x1x4xf32>) -> tensor<2x4x1x1xf32>
  func.return %y : tensor<2x4x1x1xf32>
}
// CHECK:      %y = convc.reshape %x : (tensor<2x1x1x4xf32>) -> tensor<2x4x1x1xf32>

// -----
// reshape(transpose(x)), transpose(reshape(x)) that only insert axes of one element => one transpose
func.func @main(%x: tensor<1x36x1x172xf32>) -> tensor<1x172x36x1xf32> {
  %a = convc.transpose %x perm [0, 2, 3, 1] : (tensor<1x36x1x172xf32>) -> tensor<1x1x172x36xf32>
  %b = convc.reshape %a : (tensor<1x1x172x36xf32>) -> tensor<1x172x36xf32>
  %c = convc.reshape %b : (tensor<1x172x36xf32>) -> tensor<1x172x36x1xf32>
  func.return %c : tensor<1x172x36x1xf32>
}
// CHECK:      @main
// CHECK-NEXT: %c = convc.transpose %x perm [0, 3, 1, 2]
// CHECK-NEXT: func.return %c

// -----
// a shuffle of channels stays: its reshapes split axes
!t = tensor<1x6x2x2xf32>
func.func @main(%x: !t) -> !t {
  %a = convc.reshape %x : (!t) -> tensor<1x2x3x2x2xf32>
  %b = convc.transpose %a perm [0, 2, 1, 3, 4] : (tensor<1x2x3x2x2xf32>) -> tensor<1x3x2x2x2xf32>
  %c = convc.reshape %b : (tensor<1x3x2x2x2xf32>) -> !t
  func.return %c : !t
}
// CHECK:      %a = convc.reshape %x
// CHECK-NEXT: %b = convc.transpose %a perm [0, 2, 1, 3, 4]
// CHECK-NEXT: %c = convc.reshape %b

// -----
// broadcast(x) => reshape(x) where nothing is repeated      broadcast(broadcast(x)) => broadcast(x)
func.func @main(%x: tensor<3x1xf32>) -> (tensor<1x3x1xf32>, tensor<2x3x4xf32>) {
  %a = convc.broadcast %x : (tensor<3x1xf32>) -> tensor<1x3x1xf32>
  %b = convc.broadcast %x : (tensor<3x1xf32>) -> tensor<3x4xf32>
  %c = convc.broadcast %b : (tensor<3x4xf32>) -> tensor<2x3x4xf32>
  func.return %a, %c : tensor<1x3x1xf32>, tensor<2x3x4xf32>
}
// CHECK:      %a = convc.reshape %x
// CHECK-NEXT: %c = convc.broadcast %x : (tensor<3x1xf32>) -> tensor<2x3x4xf32>

// -----
// slice(x) of everything => x      slice(slice(x)) => slice(x)
!t = tensor<4x9xf32>
func.func @main(%x: !t) -> (!t, tensor<2x3xf32>) {
  %a = convc.slice %x starts [0, 0] steps [1, 1] : (!t) -> !t
  %b = convc.slice %x starts [1, 8] steps [1, -2] : (!t) -> tensor<3x5xf32>
  %c = convc.slice %b starts [2, 1] steps [-1, 1] : (tensor<3x5xf32>) -> tensor<2x3xf32>
  func.return %a, %c : !t, tensor<2x3xf32>
}
// CHECK:      @main
// CHECK-NEXT: %c = convc.slice %x starts [3, 6] steps [-1, -2]
// CHECK-NEXT: func.return %x, %c

// -----
// slice(concat(x, y, z)) => x, or concat(x, y), or slice(y); across a seam it stays
func.func @main(%x: tensor<2x3xf32>, %y: tensor<2x4xf32>, %z: tensor<2x2xf32>)
    -> (tensor<2x3xf32>, tensor<2x7xf32>, tensor<1x2xf32>, tensor<2x2xf32>) {
  %a = convc.concat %x, %y, %z axis 1 : (tensor<2x3xf32>, tensor<2x4xf32>, tensor<2x2xf32>) -> tensor<2x9xf32>
  %b = convc.slice %a starts [0, 0] steps [1, 1] : (tensor<2x9xf32>) -> tensor<2x3xf32>
  %c = convc.slice %a starts [0, 0] steps [1, 1] : (tensor<2x9xf32>) -> tensor<2x7xf32>
  %d = convc.slice %a starts [1, 3] steps [1, 2] : (tensor<2x9xf32>) -> tensor<1x2xf32>
  %e = convc.slice %a starts [0, 2] steps [1, 1] : (tensor<2x9xf32>) -> tensor<2x2xf32>
  func.return %b, %c, %d, %e : tensor<2x3xf32>, tensor<2x7xf32>, tensor<1x2xf32>, tensor<2x2xf32>
}
// CHECK:      %a = convc.concat %x, %y, %z
// CHECK:      [[J:%.*]] = convc.concat %x, %y axis 1
// CHECK:      %d = convc.slice %y starts [1, 0] steps [1, 2]
// CHECK:      %e = convc.slice %a starts [0, 2]
// CHECK:      func.return %x, [[J]], %d, %e

// -----
// concat(x) => x      concat(concat(x, y), x) => concat(x, y, x)      concat(x[0:1], x[1:4]) => x
!t = tensor<4x3xf32>
func.func @main(%x: !t, %y: !t) -> (!t, tensor<12x3xf32>, !t) {
  %a = convc.concat %x axis 0 : (!t) -> !t
  %b = convc.concat %x, %y axis 0 : (!t, !t) -> tensor<8x3xf32>
  %c = convc.concat %b, %x axis 0 : (tensor<8x3xf32>, !t) -> tensor<12x3xf32>
  %d = convc.slice %x starts [0, 0] steps [1, 1] : (!t) -> tensor<1x3xf32>
  %e = convc.slice %x starts [1, 0] steps [1, 1] : (!t) -> tensor<3x3xf32>
  %f = convc.concat %d, %e axis 0 : (tensor<1x3xf32>, tensor<3x3xf32>) -> !t
  func.return %a, %c, %f : !t, tensor<12x3xf32>, !t
}
// CHECK:      @main
// CHECK-NEXT: %c = convc.concat %x, %y, %x axis 0
// CHECK-NEXT: func.return %x, %c, %x

// -----
// pad(x) by nothing => x      pad(x) that takes off => slice(x)      pad(pad(x, 0), 0) => pad(x, 0)
!t = tensor<4x4xf32>
func.func @main(%x: !t) -> (!t, tensor<4x2xf32>, tensor<6x7xf32>) {
  %a = convc.pad edge %x pads [0, 0, 0, 0] value 0.0 : f64 : (!t) -> !t
  %b = convc.pad constant %x pads [0, -1, 0, -1] value 0.0 : f64 : (!t) -> tensor<4x2xf32>
  %c = convc.pad constant %x pads [1, 1, 1, 0] value 0.0 : f64 : (!t) -> tensor<6x5xf32>
  %d = convc.pad constant %c pads [0, 1, 0, 1] value 0.0 : f64 : (tensor<6x5xf32>) -> tensor<6x7xf32>
  func.return %a, %b, %d : !t, tensor<4x2xf32>, tensor<6x7xf32>
}
// CHECK:      %b = convc.slice %x starts [0, 1] steps [1, 1]
// CHECK-NEXT: %d = convc.pad constant %x pads [1, 2, 1, 1]
// CHECK-NEXT: func.return %x, %b, %d

// -----
// pads of different values stay two
!t = tensor<4x4xf32>
func.func @main(%x: !t) -> tensor<6x6xf32> {
  %c = convc.pad constant %x pads [1, 0, 1, 0] value 0.0 : f64 : (!t) -> tensor<6x4xf32>
  %d = convc.pad constant %c pads [0, 1, 0, 1] value 1.0 : f64 : (tensor<6x4xf32>) -> tensor<6x6xf32>
  func.return %d : tensor<6x6xf32>
}
// CHECK:      %c = convc.pad constant %x
// CHECK-NEXT: %d = convc.pad constant %c

// -----
// resize(x) to its own size => x
!t = tensor<1x2x4x4xf32>
func.func @main(%x: !t) -> !t {
  %y = convc.resize %x mode "linear" coordinates "half_pixel" nearest "floor"
    scales [1.0 : f64, 1.0 : f64, 1.0 : f64, 1.0 : f64] roi [] cubic_coeff -0.75 : f64 extrapolation 0.0 : f64
    exclude_outside 0 antialias 0 : (!t) -> !t
  func.return %y : !t
}
// CHECK:      @main
// CHECK-NEXT: func.return %x
