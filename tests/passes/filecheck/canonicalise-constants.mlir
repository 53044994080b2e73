// RUN: convc opt %s -p canonicalise | filecheck %s
// f(constants) => constant, and what nothing refers to is gone
!t = tensor<2x3xf32>
func.func @main(%x: !t) -> !t {
  %v = convc.weight @v : tensor<1x3xf32>
  %w = convc.weight @w : tensor<1x3xf32>
  %s = convc.elementwise mul(%v, %w) : (tensor<1x3xf32>, tensor<1x3xf32>) -> tensor<1x3xf32>
  %r = convc.elementwise exp(%s) : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %y = convc.elementwise add(%x, %r) : (!t, tensor<1x3xf32>) -> !t
  %dead = convc.elementwise exp(%y) : (!t) -> !t
  func.return %y : !t
}
// CHECK:      @main
// CHECK-NEXT: %r = convc.weight @r : tensor<1x3xf32>
// CHECK-NEXT: %y = convc.elementwise add(%x, %r)
// CHECK-NEXT: func.return %y

// -----
// a weight in an elementwise function has all axes of the result
!t = tensor<1x4x5x5xf32>
func.func @main(%x: !t) -> !t {
  %w = convc.weight @w : tensor<4x1x1xf32>
  %y = convc.elementwise prelu(%x, %w) : (!t, tensor<4x1x1xf32>) -> !t
  func.return %y : !t
}
// CHECK:      [[W:%.*]] = convc.weight @w.{{.*}} : tensor<1x4x1x1xf32>
// CHECK-NEXT: %y = convc.elementwise prelu(%x, [[W]])

// -----
// broadcast(constant) => constant, and conv(x, w, 0) => conv(x, w)
!t = tensor<1x4x5x5xf32>
func.func @main(%x: !t) -> tensor<1x6x3x3xf32> {
  %w = convc.weight @w : tensor<6x4x3x3xf32>
  %zero = convc.constant 0.0 : f64 : tensor<f32>
  %b = convc.broadcast %zero : (tensor<f32>) -> tensor<6xf32>
  %y = convc.conv %x, %w bias %b strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1
    : (!t, tensor<6x4x3x3xf32>, tensor<6xf32>) -> tensor<1x6x3x3xf32>
  func.return %y : tensor<1x6x3x3xf32>
}
// CHECK:      @main
// CHECK-NEXT: %w = convc.weight @w
// CHECK-NEXT: %y = convc.conv %x, %w strides

// -----
// what a convolution reads is in memory, even if all of it is one number
!t = tensor<1x4x5x5xf32>
func.func @main(%x: !t) -> !t {
  %w = convc.constant 0.25 : f64 : tensor<4x1x3x3xf32>
  %y = convc.conv %x, %w strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] group 4 : (!t, tensor<4x1x3x3xf32>) -> !t
  func.return %y : !t
}
// CHECK:      [[W:%.*]] = convc.weight @{{.*}} : tensor<4x1x3x3xf32>
// CHECK-NEXT: %y = convc.conv %x, [[W]]

// -----
// a weight of one element too
!t = tensor<1x1x6x6xf32>
func.func @main(%x: !t) -> !t {
  %w = convc.constant 0.5 : f64 : tensor<1x1x1x1xf32>
  %y = convc.conv %x, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!t, tensor<1x1x1x1xf32>) -> !t
  func.return %y : !t
}
// CHECK:      [[W:%.*]] = convc.weight @{{.*}} : tensor<1x1x1x1xf32>
// CHECK-NEXT: %y = convc.conv %x, [[W]]

// -----
// a constant result much larger than its operands is left to be computed
func.func @main(%x: tensor<3000x3000xf32>) -> tensor<3000x3000xf32> {
  %v = convc.weight @v : tensor<3000x1xf32>
  %w = convc.weight @w : tensor<1x3000xf32>
  %s = convc.elementwise mul(%v, %w) : (tensor<3000x1xf32>, tensor<1x3000xf32>) -> tensor<3000x3000xf32>
  %y = convc.elementwise add(%x, %s) : (tensor<3000x3000xf32>, tensor<3000x3000xf32>) -> tensor<3000x3000xf32>
  func.return %y : tensor<3000x3000xf32>
}
// CHECK:      %s = convc.elementwise mul(%v, %w)

// -----
// f(x), f(x) => f(x), also where a sum is written the other way round; equal weights are one
!t = tensor<2x3xf32>
func.func @main(%x: !t, %y: !t) -> (!t, !t, !t, !t) {
  %two = convc.weight @two : tensor<3x3xf32>
  %a = convc.elementwise add(%x, %y) : (!t, !t) -> !t
  %b = convc.elementwise add(%y, %x) : (!t, !t) -> !t
  %c = convc.elementwise sub(%x, %y) : (!t, !t) -> !t
  %d = convc.elementwise sub(%y, %x) : (!t, !t) -> !t
  func.return %a, %b, %c, %d : !t, !t, !t, !t
}
// CHECK:      @main
// CHECK-NEXT: %a = convc.elementwise add(%x, %y)
// CHECK-NEXT: %c = convc.elementwise sub(%x, %y)
// CHECK-NEXT: %d = convc.elementwise sub(%y, %x)
// CHECK-NEXT: func.return %a, %a, %c, %d
