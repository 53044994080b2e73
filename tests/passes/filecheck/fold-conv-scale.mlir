// RUN: convc opt %s -p fold-conv-scale | filecheck %s
// (conv(x, w) * s + t) / c - d => conv(x, w') + b, vectors over channels and scalars alike
!t = tensor<1x4x6x6xf32>
!u = tensor<1x8x6x6xf32>
!v = tensor<1x8x1x1xf32>
!s = tensor<f32>
func.func @main(%x: !t) -> !u {
  %w = convc.weight @w : tensor<8x4x3x3xf32>
  %s = convc.weight @s : !v
  %o = convc.weight @o : tensor<8x1x1xf32>
  %three = convc.constant 3.0 : f64 : !s
  %c = convc.conv %x, %w strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] group 1 : (!t, tensor<8x4x3x3xf32>) -> !u
  %d = convc.elementwise mul(%s, %c) : (!v, !u) -> !u
  %e = convc.elementwise add(%d, %o) : (!u, tensor<8x1x1xf32>) -> !u
  %f = convc.elementwise div(%e, %three) : (!u, !s) -> !u
  %g = convc.elementwise sub(%three, %f) : (!s, !u) -> !u
  %y = convc.elementwise neg(%g) : (!u) -> !u
  func.return %y : !u
}
// CHECK:      @main
// CHECK-NEXT: [[W:%.*]] = convc.weight @w.1
// CHECK-NEXT: [[B:%.*]] = convc.weight @w.bias : tensor<8xf32>
// CHECK-NEXT: %y = convc.conv %x, [[W]] bias [[B]]
// CHECK-NEXT: func.return %y

// -----
// a sum alone is a bias: the weight stays, known or not
!t = tensor<1x4x6x6xf32>
!k = tensor<4x4x1x1xf32>
func.func @main(%x: !t, %k: !k) -> !t {
  %o = convc.weight @o : tensor<1x4x1x1xf32>
  %c = convc.conv %x, %k strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!t, !k) -> !t
  %y = convc.elementwise add(%c, %o) : (!t, tensor<1x4x1x1xf32>) -> !t
  func.return %y : !t
}
// CHECK:      %y = convc.conv %x, %k bias

// -----
// what varies along the image, has another reader, or is computed, does not fold
!t = tensor<1x4x6x6xf32>
!k = tensor<4x4x1x1xf32>
func.func @main(%x: !t, %g: tensor<1x4x1x1xf32>) -> (!t, !t, !t, !t) {
  %w = convc.weight @w : !k
  %p = convc.weight @p : tensor<1x1x6x6xf32>
  %two = convc.constant 2.0 : f64 : tensor<f32>
  %c = convc.conv %x, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!t, !k) -> !t
  %a = convc.elementwise add(%c, %p) : (!t, tensor<1x1x6x6xf32>) -> !t
  %d = convc.conv %a, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!t, !k) -> !t
  %b = convc.elementwise mul(%d, %two) : (!t, tensor<f32>) -> !t
  %e = convc.conv %b, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!t, !k) -> !t
  %h = convc.elementwise mul(%e, %g) : (!t, tensor<1x4x1x1xf32>) -> !t
  func.return %a, %d, %b, %h : !t, !t, !t, !t
}
// CHECK:      %a = convc.elementwise add(%c, %p)
// CHECK:      %b = convc.elementwise mul(%d, %two)
// CHECK:      %h = convc.elementwise mul(%e, %g)

// -----
// of a chain, what is next to the convolution folds, and the rest stays
!t = tensor<1x4x6x6xf32>
func.func @main(%x: !t) -> !t {
  %w = convc.weight @w : tensor<4x1x3x3xf32>
  %s = convc.weight @s : tensor<1x4x1x1xf32>
  %p = convc.weight @p : tensor<1x1x6x6xf32>
  %c = convc.conv %x, %w strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] group 4 : (!t, tensor<4x1x3x3xf32>) -> !t
  %a = convc.elementwise mul(%c, %s) : (!t, tensor<1x4x1x1xf32>) -> !t
  %y = convc.elementwise add(%a, %p) : (!t, tensor<1x1x6x6xf32>) -> !t
  func.return %y : !t
}
// CHECK:      [[C:%.*]] = convc.conv %x
// CHECK:      %y = convc.elementwise add([[C]]
// CHECK-NEXT: func.return %y

// -----
// (x @ w + b) * s => x @ w' + b'; a lone sum after a product stays as it is
!t = tensor<2x5xf32>
!u = tensor<2x3xf32>
func.func @main(%x: !t) -> (!u, !u) {
  %w = convc.weight @w : tensor<3x5xf32>
  %v = convc.weight @v : tensor<5x3xf32>
  %b = convc.weight @b : tensor<3xf32>
  %s = convc.weight @s : tensor<1x3xf32>
  %c = convc.matmul %x, %w transpose_b : (!t, tensor<3x5xf32>) -> !u
  %d = convc.elementwise add(%c, %b) : (!u, tensor<3xf32>) -> !u
  %y = convc.elementwise mul(%d, %s) : (!u, tensor<1x3xf32>) -> !u
  %e = convc.matmul %x, %v : (!t, tensor<5x3xf32>) -> !u
  %z = convc.elementwise add(%e, %b) : (!u, tensor<3xf32>) -> !u
  func.return %y, %z : !u, !u
}
// CHECK:      [[W:%.*]] = convc.weight @w.1
// CHECK:      [[C:%.*]] = convc.matmul %x, [[W]] transpose_b
// CHECK:      %y = convc.elementwise add([[C]]
// CHECK-NEXT: %e = convc.matmul %x, %v
// CHECK-NEXT: %z = convc.elementwise add(%e, %b)

// -----
// conv(x * s, w) => conv(x, w * s), with any padding and in groups; also conv_transpose
!t = tensor<1x4x6x6xf32>
func.func @main(%x: !t) -> (!t, tensor<1x2x11x11xf32>) {
  %w = convc.weight @w : tensor<4x2x3x3xf32>
  %v = convc.weight @v : tensor<4x1x1x1xf32>
  %s = convc.weight @s : tensor<1x4x1x1xf32>
  %a = convc.elementwise mul(%x, %s) : (!t, tensor<1x4x1x1xf32>) -> !t
  %y = convc.conv %a, %w strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] group 2 : (!t, tensor<4x2x3x3xf32>) -> !t
  %z = convc.conv_transpose %a, %v strides [2, 2] pads [0, 0, 0, 0] dilations [1, 1] output_padding [0, 0] group 2
    : (!t, tensor<4x1x1x1xf32>) -> tensor<1x2x11x11xf32>
  func.return %y, %z : !t, tensor<1x2x11x11xf32>
}
// CHECK-NOT:  elementwise
// CHECK:      %y = convc.conv %x
// CHECK:      %z = convc.conv_transpose %x

// -----
// conv(x + t, w) => conv(x, w) + b without padding only
!t = tensor<1x4x6x6xf32>
func.func @main(%x: !t) -> (tensor<1x4x4x4xf32>, !t) {
  %w = convc.weight @w : tensor<4x4x3x3xf32>
  %o = convc.weight @o : tensor<1x4x1x1xf32>
  %p = convc.weight @p : tensor<1x4x1x1xf32>
  %a = convc.elementwise add(%x, %o) : (!t, tensor<1x4x1x1xf32>) -> !t
  %y = convc.conv %a, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1
    : (!t, tensor<4x4x3x3xf32>) -> tensor<1x4x4x4xf32>
  %b = convc.elementwise add(%x, %p) : (!t, tensor<1x4x1x1xf32>) -> !t
  %z = convc.conv %b, %w strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] group 1 : (!t, tensor<4x4x3x3xf32>) -> !t
  func.return %y, %z : tensor<1x4x4x4xf32>, !t
}
// CHECK:      %y = convc.conv %x, {{%.*}} bias
// CHECK:      %b = convc.elementwise add(%x, %p)
// CHECK-NEXT: %z = convc.conv %b, %w strides

// -----
// with padding in the way of t: conv(x * s + t, w) => conv(x + t / s, w * s)
!t = tensor<1x4x6x6xf32>
!s = tensor<f32>
func.func @main(%x: !t) -> !t {
  %w = convc.weight @w : tensor<4x1x3x3xf32>
  %s = convc.constant 0.5 : f64 : !s
  %o = convc.constant 3.0 : f64 : !s
  %a = convc.elementwise mul(%x, %s) : (!t, !s) -> !t
  %b = convc.elementwise add(%a, %o) : (!t, !s) -> !t
  %y = convc.conv %b, %w strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] group 4 : (!t, tensor<4x1x3x3xf32>) -> !t
  func.return %y : !t
}
// CHECK:      [[O:%.*]] = convc.constant 6.000000e+00
// CHECK-NEXT: [[A:%.*]] = convc.elementwise add(%x, [[O]])
// CHECK:      %y = convc.conv [[A]]

// -----
// a reader that does not fold it keeps x * s, for all
!t = tensor<1x4x6x6xf32>
func.func @main(%x: !t) -> (!t, !t) {
  %w = convc.weight @w : tensor<4x4x1x1xf32>
  %s = convc.weight @s : tensor<1x4x1x1xf32>
  %a = convc.elementwise mul(%x, %s) : (!t, tensor<1x4x1x1xf32>) -> !t
  %y = convc.conv %a, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!t, tensor<4x4x1x1xf32>) -> !t
  %z = convc.elementwise relu(%a) : (!t) -> !t
  func.return %y, %z : !t, !t
}
// CHECK:      %a = convc.elementwise mul(%x, %s)
// CHECK-NEXT: %y = convc.conv %a, %w

// -----
// through a transpose, as in a network that begins in NHWC
!l = tensor<1x6x6x3xf32>
!c = tensor<1x3x6x6xf32>
func.func @main(%x: !l) -> tensor<1x4x6x6xf32> {
  %w = convc.weight @w : tensor<4x3x3x3xf32>
  %s = convc.weight @s : tensor<3xf32>
  %a = convc.elementwise mul(%x, %s) : (!l, tensor<3xf32>) -> !l
  %t = convc.transpose %a perm [0, 3, 1, 2] : (!l) -> !c
  %y = convc.conv %t, %w strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] group 1
    : (!c, tensor<4x3x3x3xf32>) -> tensor<1x4x6x6xf32>
  func.return %y : tensor<1x4x6x6xf32>
}
// CHECK:      @main
// CHECK-NEXT: [[T:%.*]] = convc.transpose %x perm [0, 3, 1, 2]
// CHECK:      %y = convc.conv [[T]]

// -----
// (x * s + t) @ w => x @ w' + b: the scale and shift of a layer normalisation
!t = tensor<1x7x5xf32>
func.func @main(%x: !t) -> (tensor<1x7x3xf32>, tensor<1x7x2xf32>) {
  %w = convc.weight @w : tensor<3x5xf32>
  %v = convc.weight @v : tensor<5x2xf32>
  %s = convc.weight @s : tensor<5xf32>
  %o = convc.weight @o : tensor<5xf32>
  %a = convc.elementwise mul(%x, %s) : (!t, tensor<5xf32>) -> !t
  %b = convc.elementwise add(%a, %o) : (!t, tensor<5xf32>) -> !t
  %y = convc.matmul %b, %w transpose_b : (!t, tensor<3x5xf32>) -> tensor<1x7x3xf32>
  %z = convc.matmul %b, %v : (!t, tensor<5x2xf32>) -> tensor<1x7x2xf32>
  func.return %y, %z : tensor<1x7x3xf32>, tensor<1x7x2xf32>
}
// CHECK-NOT:  elementwise mul
// CHECK:      convc.matmul %x, {{%.*}} transpose_b
// CHECK:      %y = convc.elementwise add(
// CHECK:      convc.matmul %x, {{%.*}} :
// CHECK:      %z = convc.elementwise add(

// -----
// (x * a) * b + c + d => x * (a * b) + (c + d); vectors along different axes stay two
!t = tensor<2x3xf32>
!s = tensor<f32>
func.func @main(%x: !t) -> (!t, !t) {
  %two = convc.constant 2.0 : f64 : !s
  %three = convc.constant 3.0 : f64 : !s
  %r = convc.weight @r : tensor<2x1xf32>
  %q = convc.weight @q : tensor<1x3xf32>
  %a = convc.elementwise mul(%x, %two) : (!t, !s) -> !t
  %b = convc.elementwise mul(%a, %three) : (!t, !s) -> !t
  %c = convc.elementwise add(%b, %two) : (!t, !s) -> !t
  %y = convc.elementwise add(%c, %three) : (!t, !s) -> !t
  %e = convc.elementwise mul(%x, %r) : (!t, tensor<2x1xf32>) -> !t
  %z = convc.elementwise mul(%e, %q) : (!t, tensor<1x3xf32>) -> !t
  func.return %y, %z : !t, !t
}
// CHECK:      [[S:%.*]] = convc.constant 6.000000e+00
// CHECK-NEXT: [[M:%.*]] = convc.elementwise mul(%x, [[S]])
// CHECK-NEXT: [[O:%.*]] = convc.constant 5.000000e+00
// CHECK-NEXT: %y = convc.elementwise add([[M]], [[O]])
// CHECK-NEXT: %e = convc.elementwise mul(%x, %r)
// CHECK-NEXT: %z = convc.elementwise mul(%e, %q)

// -----
// conv_transpose(x * s, w) + b => conv_transpose(x, w * s) + b: it has an input of its own for each s, not an output
!t = tensor<1x4x3x3xf32>
!o = tensor<1x2x6x6xf32>
func.func @main(%x: !t) -> !o {
  %w = convc.weight @w : tensor<4x2x2x2xf32>
  %s = convc.weight @s : tensor<4x1x1xf32>
  %b = convc.weight @b : tensor<2xf32>
  %a = convc.elementwise mul(%x, %s) : (!t, tensor<4x1x1xf32>) -> !t
  %y = convc.conv_transpose %a, %w bias %b strides [2, 2] pads [0, 0, 0, 0] dilations [1, 1] output_padding [0, 0] group 1
    : (!t, tensor<4x2x2x2xf32>, tensor<2xf32>) -> !o
  func.return %y : !o
}
// CHECK-NOT:  elementwise mul
// CHECK:      convc.conv_transpose %x, {{%.*}} bias
