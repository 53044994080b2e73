// RUN: convc opt %s -p fold-pads | filecheck %s
// conv(pad(x, 0), w) => conv(x, w) with larger pads
!t = tensor<1x4x6x6xf32>
func.func @main(%x: !t) -> tensor<1x4x7x8xf32> {
  %w = convc.weight @w : tensor<4x1x3x3xf32>
  %a = convc.pad constant %x pads [0, 0, 1, 2, 0, 0, 0, 0] value 0.0 : f64 : (!t) -> tensor<1x4x7x8xf32>
  %y = convc.conv %a, %w strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] group 4
    : (tensor<1x4x7x8xf32>, tensor<4x1x3x3xf32>) -> tensor<1x4x7x8xf32>
  func.return %y : tensor<1x4x7x8xf32>
}
// CHECK:      %y = convc.conv %x, %w strides [1, 1] pads [2, 3, 1, 1]

// -----
// a pad of another value, of another mode, of channels, or that takes off, stays
!t = tensor<1x4x6x6xf32>
!p = tensor<1x4x8x8xf32>
func.func @main(%x: !t) -> (!t, !t, tensor<1x4x4x4xf32>, tensor<1x4x4x4xf32>) {
  %w = convc.weight @w : tensor<4x1x3x3xf32>
  %v = convc.weight @v : tensor<4x5x3x3xf32>
  %a = convc.pad constant %x pads [0, 0, 1, 1, 0, 0, 1, 1] value 1.0 : f64 : (!t) -> !p
  %b = convc.pad edge %x pads [0, 0, 1, 1, 0, 0, 1, 1] value 0.0 : f64 : (!t) -> !p
  %c = convc.pad constant %x pads [0, 1, 0, 0, 0, 0, 0, 0] value 0.0 : f64 : (!t) -> tensor<1x5x6x6xf32>
  %d = convc.pad constant %x pads [0, 0, 1, 0, 0, 0, -1, 0] value 0.0 : f64 : (!t) -> !t
  %i = convc.conv %a, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 4 : (!p, tensor<4x1x3x3xf32>) -> !t
  %j = convc.conv %b, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 4 : (!p, tensor<4x1x3x3xf32>) -> !t
  %k = convc.conv %c, %v strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1
    : (tensor<1x5x6x6xf32>, tensor<4x5x3x3xf32>) -> tensor<1x4x4x4xf32>
  %l = convc.conv %d, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 4
    : (!t, tensor<4x1x3x3xf32>) -> tensor<1x4x4x4xf32>
  func.return %i, %j, %k, %l : !t, !t, tensor<1x4x4x4xf32>, tensor<1x4x4x4xf32>
}
// CHECK:      %i = convc.conv %a
// CHECK:      %j = convc.conv %b
// CHECK:      %k = convc.conv %c
// CHECK:      %l = convc.conv %d

// -----
// through a transpose and a reshape of axes of one element
!l = tensor<2x6x3xf32>
func.func @main(%x: !l) -> tensor<2x4x1x6xf32> {
  %w = convc.weight @w : tensor<4x3x1x3xf32>
  %a = convc.pad constant %x pads [0, 1, 0, 0, 1, 0] value 0.0 : f64 : (!l) -> tensor<2x8x3xf32>
  %t = convc.transpose %a perm [0, 2, 1] : (tensor<2x8x3xf32>) -> tensor<2x3x8xf32>
  %r = convc.reshape %t : (tensor<2x3x8xf32>) -> tensor<2x3x1x8xf32>
  %y = convc.conv %r, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1
    : (tensor<2x3x1x8xf32>, tensor<4x3x1x3xf32>) -> tensor<2x4x1x6xf32>
  func.return %y : tensor<2x4x1x6xf32>
}
// CHECK:      [[T:%.*]] = convc.transpose %x perm [0, 2, 1] : (tensor<2x6x3xf32>) -> tensor<2x3x6xf32>
// CHECK-NEXT: [[R:%.*]] = convc.reshape [[T]] : (tensor<2x3x6xf32>) -> tensor<2x3x1x6xf32>
// CHECK:      %y = convc.conv [[R]], %w strides [1, 1] pads [0, 1, 0, 1]

// -----
// pool average(pad(x, 0)) counts what was padded; it stays if the pool pads what does not count
!t = tensor<1x4x6x6xf32>
!p = tensor<1x4x8x8xf32>
func.func @main(%x: !t) -> (!t, tensor<1x4x5x5xf32>, tensor<1x4x8x8xf32>) {
  %a = convc.pad constant %x pads [0, 0, 1, 1, 0, 0, 1, 1] value 0.0 : f64 : (!t) -> !p
  %y = convc.pool average %a kernel [3, 3] strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] : (!p) -> !t
  %z = convc.pool average %a kernel [2, 2] strides [2, 2] pads [1, 1, 1, 1] dilations [1, 1] count_include_pad
    : (!p) -> tensor<1x4x5x5xf32>
  %n = convc.pool average %a kernel [3, 3] strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] : (!p) -> !p
  func.return %y, %z, %n : !t, tensor<1x4x5x5xf32>, !p
}
// CHECK:      %y = convc.pool average %x kernel [3, 3] strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] count_include_pad
// CHECK:      %z = convc.pool average %x kernel [2, 2] strides [2, 2] pads [2, 2, 2, 2] dilations [1, 1] count_include_pad
// CHECK:      %n = convc.pool average %a

// -----
// in ceil_mode, a fold that would drop a window is none
!t = tensor<1x1x5x5xf32>
func.func @main(%x: !t) -> tensor<1x1x3x3xf32> {
  %a = convc.pad constant %x pads [0, 0, 0, 0, 0, 0, 2, 2] value 0.0 : f64 : (!t) -> tensor<1x1x7x7xf32>
  %y = convc.pool average %a kernel [2, 2] strides [3, 3] pads [0, 0, 0, 0] dilations [1, 1] ceil_mode
    : (tensor<1x1x7x7xf32>) -> tensor<1x1x3x3xf32>
  func.return %y : tensor<1x1x3x3xf32>
}
// CHECK:      %y = convc.pool average %a

// -----
// pool max(pad(x, v)) where no element of x is below v
!t = tensor<1x4x6x6xf32>
!p = tensor<1x4x8x8xf32>
func.func @main(%x: !t) -> (!t, !t, !t) {
  %r = convc.elementwise relu(%x) : (!t) -> !t
  %a = convc.pad constant %r pads [0, 0, 1, 1, 0, 0, 1, 1] value 0.0 : f64 : (!t) -> !p
  %y = convc.pool max %a kernel [3, 3] strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] : (!p) -> !t
  %b = convc.pad constant %x pads [0, 0, 1, 1, 0, 0, 1, 1] value 0xfff0000000000000 : f64 : (!t) -> !p
  %z = convc.pool max %b kernel [3, 3] strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] : (!p) -> !t
  %c = convc.pad constant %x pads [0, 0, 1, 1, 0, 0, 1, 1] value 0.0 : f64 : (!t) -> !p
  %n = convc.pool max %c kernel [3, 3] strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] : (!p) -> !t
  func.return %y, %z, %n : !t, !t, !t
}
// CHECK:      %y = convc.pool max %r kernel [3, 3] strides [1, 1] pads [1, 1, 1, 1]
// CHECK:      %z = convc.pool max %x kernel [3, 3] strides [1, 1] pads [1, 1, 1, 1]
// CHECK:      %n = convc.pool max %c

// -----
// of integers, too: no element lies below the least one of their type
!t = tensor<1x4x6x6xui8>
!p = tensor<1x4x8x8xui8>
func.func @main(%x: !t) -> (!t, !t) {
  %a = convc.pad constant %x pads [0, 0, 1, 1, 0, 0, 1, 1] value 0.0 : f64 : (!t) -> !p
  %y = convc.pool max %a kernel [3, 3] strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] : (!p) -> !t
  %b = convc.pad constant %x pads [0, 0, 1, 1, 0, 0, 1, 1] value 100.0 : f64 : (!t) -> !p
  %z = convc.pool max %b kernel [3, 3] strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] : (!p) -> !t
  func.return %y, %z : !t, !t
}
// CHECK:      %y = convc.pool max %x kernel [3, 3] strides [1, 1] pads [1, 1, 1, 1]
// CHECK:      %z = convc.pool max %b kernel [3, 3] strides [1, 1] pads [0, 0, 0, 0]

// -----
// a window that sees nothing but padding keeps it
!t = tensor<1x4x6x6xf32>
func.func @main(%x: !t) -> tensor<1x4x4x3xf32> {
  %r = convc.elementwise relu(%x) : (!t) -> !t
  %a = convc.pad constant %r pads [0, 0, 2, 0, 0, 0, 0, 0] value 0.0 : f64 : (!t) -> tensor<1x4x8x6xf32>
  %y = convc.pool max %a kernel [2, 2] strides [2, 2] pads [0, 0, 0, 0] dilations [1, 1]
    : (tensor<1x4x8x6xf32>) -> tensor<1x4x4x3xf32>
  func.return %y : tensor<1x4x4x3xf32>
}
// CHECK:      %y = convc.pool max %a

// -----
// slice(conv_transpose(x, w)) => conv_transpose(x, w) with larger pads
!t = tensor<1x4x5x5xf32>
func.func @main(%x: !t) -> (tensor<1x2x10x9xf32>, tensor<1x1x11x11xf32>) {
  %w = convc.weight @w : tensor<4x2x3x3xf32>
  %b = convc.weight @b : tensor<2xf32>
  %a = convc.conv_transpose %x, %w bias %b strides [2, 2] pads [0, 0, 0, 0] dilations [1, 1] output_padding [0, 0]
    group 1 : (!t, tensor<4x2x3x3xf32>, tensor<2xf32>) -> tensor<1x2x11x11xf32>
  %y = convc.slice %a starts [0, 0, 1, 0] steps [1, 1, 1, 1] : (tensor<1x2x11x11xf32>) -> tensor<1x2x10x9xf32>
  %c = convc.conv_transpose %x, %w strides [2, 2] pads [0, 0, 0, 0] dilations [1, 1] output_padding [0, 0]
    group 1 : (!t, tensor<4x2x3x3xf32>) -> tensor<1x2x11x11xf32>
  %z = convc.slice %c starts [0, 1, 0, 0] steps [1, 1, 1, 1] : (tensor<1x2x11x11xf32>) -> tensor<1x1x11x11xf32>
  func.return %y, %z : tensor<1x2x10x9xf32>, tensor<1x1x11x11xf32>
}
// CHECK:      %y = convc.conv_transpose %x, %w bias %b strides [2, 2] pads [1, 0, 0, 2]
// CHECK:      %z = convc.slice %c

// -----
// f(pad(x, v)) => pad(f(x), f(v)), and so into the window
!t = tensor<1x4x6x6xf32>
!p = tensor<1x4x8x8xf32>
func.func @main(%x: !t) -> (!t, !p) {
  %w = convc.weight @w : tensor<4x1x3x3xf32>
  %c = convc.constant 2.0 : f64 : tensor<f32>
  %a = convc.pad constant %x pads [0, 0, 1, 1, 0, 0, 1, 1] value 0.0 : f64 : (!t) -> !p
  %b = convc.elementwise relu(%a) : (!p) -> !p
  %y = convc.conv %b, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 4 : (!p, tensor<4x1x3x3xf32>) -> !t
  %d = convc.pad constant %x pads [0, 0, 1, 1, 0, 0, 1, 1] value 1.0 : f64 : (!t) -> !p
  %e = convc.elementwise sub(%c, %d) : (tensor<f32>, !p) -> !p
  %z = convc.elementwise exp(%e) : (!p) -> !p
  func.return %y, %z : !t, !p
}
// CHECK:      [[R:%.*]] = convc.elementwise relu(%x)
// CHECK:      %y = convc.conv [[R]], %w strides [1, 1] pads [1, 1, 1, 1]
// CHECK:      [[E:%.*]] = convc.elementwise exp(
// CHECK-NEXT: %z = convc.pad constant [[E]] pads [0, 0, 1, 1, 0, 0, 1, 1] value 2.718281
