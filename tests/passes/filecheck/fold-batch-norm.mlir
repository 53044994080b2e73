// RUN: convc opt %s -p fold-batch-norm | filecheck %s
// batch_norm(conv(x, w) + b) => conv(x, w') + b'
!t = tensor<1x4x6x6xf32>
!v = tensor<8xf32>
func.func @main(%x: !t) -> tensor<1x8x6x6xf32> {
  %w = convc.weight @w : tensor<8x2x3x3xf32>
  %b = convc.weight @b : !v
  %s = convc.weight @scale : !v
  %o = convc.weight @shift : !v
  %m = convc.weight @mean : !v
  %var = convc.weight @var : !v
  %c = convc.conv %x, %w bias %b strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] group 2
    : (!t, tensor<8x2x3x3xf32>, !v) -> tensor<1x8x6x6xf32>
  %y = convc.batch_norm %c, %s, %o, %m, %var epsilon 1.0e-5 : f64
    : (tensor<1x8x6x6xf32>, !v, !v, !v, !v) -> tensor<1x8x6x6xf32>
  func.return %y : tensor<1x8x6x6xf32>
}
// CHECK:      @main
// CHECK-NEXT: [[W:%.*]] = convc.weight @w.1 : tensor<8x2x3x3xf32>
// CHECK-NEXT: [[B:%.*]] = convc.weight @b.1 : tensor<8xf32>
// CHECK-NEXT: %y = convc.conv %x, [[W]] bias [[B]] strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] group 2
// CHECK-NEXT: func.return %y

// -----
// batch_norm(conv_transpose(x, w)), in groups
!t = tensor<1x4x3x3xf32>
!v = tensor<6xf32>
func.func @main(%x: !t) -> tensor<1x6x7x7xf32> {
  %w = convc.weight @w : tensor<4x3x3x3xf32>
  %s = convc.weight @scale : !v
  %o = convc.weight @shift : !v
  %m = convc.weight @mean : !v
  %var = convc.weight @var : !v
  %c = convc.conv_transpose %x, %w strides [2, 2] pads [0, 0, 0, 0] dilations [1, 1] output_padding [0, 0] group 2
    : (!t, tensor<4x3x3x3xf32>) -> tensor<1x6x7x7xf32>
  %y = convc.batch_norm %c, %s, %o, %m, %var epsilon 1.0e-5 : f64
    : (tensor<1x6x7x7xf32>, !v, !v, !v, !v) -> tensor<1x6x7x7xf32>
  func.return %y : tensor<1x6x7x7xf32>
}
// CHECK-NOT:  batch_norm
// CHECK:      %y = convc.conv_transpose %x, {{%.*}} bias

// -----
// batch_norm(x @ w + b) => x @ w' + b'
!v = tensor<3xf32>
func.func @main(%x: tensor<2x5xf32>) -> tensor<2x3xf32> {
  %w = convc.weight @w : tensor<3x5xf32>
  %b = convc.weight @b : !v
  %s = convc.weight @scale : !v
  %o = convc.weight @shift : !v
  %m = convc.weight @mean : !v
  %var = convc.weight @var : !v
  %c = convc.matmul %x, %w transpose_b : (tensor<2x5xf32>, tensor<3x5xf32>) -> tensor<2x3xf32>
  %d = convc.elementwise add(%c, %b) : (tensor<2x3xf32>, !v) -> tensor<2x3xf32>
  %y = convc.batch_norm %d, %s, %o, %m, %var epsilon 1.0e-5 : f64
    : (tensor<2x3xf32>, !v, !v, !v, !v) -> tensor<2x3xf32>
  func.return %y : tensor<2x3xf32>
}
// CHECK:      [[P:%.*]] = convc.matmul %x
// CHECK:      %y = convc.elementwise add([[P]]
// CHECK-NEXT: func.return %y

// -----
// conv(batch_norm(x), w) => conv(x, w') + b without padding, for all that read it
!t = tensor<1x4x6x6xf32>
!v = tensor<4xf32>
func.func @main(%x: !t) -> (tensor<1x8x4x4xf32>, tensor<1x4x6x6xf32>) {
  %w = convc.weight @w : tensor<8x4x3x3xf32>
  %d = convc.weight @d : tensor<4x1x1x1xf32>
  %s = convc.weight @scale : !v
  %o = convc.weight @shift : !v
  %m = convc.weight @mean : !v
  %var = convc.weight @var : !v
  %n = convc.batch_norm %x, %s, %o, %m, %var epsilon 1.0e-5 : f64 : (!t, !v, !v, !v, !v) -> !t
  %y = convc.conv %n, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1
    : (!t, tensor<8x4x3x3xf32>) -> tensor<1x8x4x4xf32>
  %z = convc.conv %n, %d strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 4 : (!t, tensor<4x1x1x1xf32>) -> !t
  func.return %y, %z : tensor<1x8x4x4xf32>, !t
}
// CHECK-NOT:  batch_norm
// CHECK:      %y = convc.conv %x, {{%.*}} bias
// CHECK:      %z = convc.conv %x, {{%.*}} bias
// CHECK-NEXT: func.return

// -----
// a batch normalisation with another reader, or after an activation: a product and a sum
!t = tensor<1x4x6x6xf32>
!v = tensor<4xf32>
func.func @main(%x: !t) -> (!t, !t) {
  %w = convc.weight @w : tensor<4x4x1x1xf32>
  %s = convc.weight @scale : !v
  %o = convc.weight @shift : !v
  %m = convc.weight @mean : !v
  %var = convc.weight @var : !v
  %c = convc.conv %x, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!t, tensor<4x4x1x1xf32>) -> !t
  %y = convc.batch_norm %c, %s, %o, %m, %var epsilon 1.0e-5 : f64 : (!t, !v, !v, !v, !v) -> !t
  func.return %c, %y : !t, !t
}
// CHECK:      %c = convc.conv %x, %w strides
// CHECK:      [[S:%.*]] = convc.weight @{{.*}} : tensor<1x4x1x1xf32>
// CHECK-NEXT: [[P:%.*]] = convc.elementwise mul(%c, [[S]])
// CHECK-NEXT: [[T:%.*]] = convc.weight @{{.*}} : tensor<1x4x1x1xf32>
// CHECK-NEXT: %y = convc.elementwise add([[P]], [[T]])

// -----
// padding in the way: conv(batch_norm(x)) keeps the normalisation, as a product and a sum
!t = tensor<1x4x6x6xf32>
!v = tensor<4xf32>
func.func @main(%x: !t) -> !t {
  %w = convc.weight @w : tensor<4x4x3x3xf32>
  %s = convc.weight @one : !v
  %o = convc.weight @shift : !v
  %m = convc.weight @zero : !v
  %var = convc.weight @one.1 : !v
  %n = convc.batch_norm %x, %s, %o, %m, %s epsilon 0.0 : f64 : (!t, !v, !v, !v, !v) -> !t
  %y = convc.conv %n, %w strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] group 1 : (!t, tensor<4x4x3x3xf32>) -> !t
  func.return %y : !t
}
// CHECK:      %n = convc.elementwise add(%x
// CHECK-NEXT: %y = convc.conv %n

// -----
// statistics that are computed: the same product and sum, of computed vectors
!t = tensor<2x4x6xf32>
!v = tensor<4xf32>
func.func @main(%x: !t, %s: !v, %o: !v, %m: !v) -> !t {
  %var = convc.weight @var : !v
  %y = convc.batch_norm %x, %s, %o, %m, %var epsilon 1.0e-5 : f64 : (!t, !v, !v, !v, !v) -> !t
  func.return %y : !t
}
// CHECK-NOT:  batch_norm
// CHECK:      [[S:%.*]] = convc.elementwise div(%s
// CHECK:      %y = convc.elementwise add(
