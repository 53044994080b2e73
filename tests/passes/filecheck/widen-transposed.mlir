// RUN: convc opt %s -p widen-transposed | filecheck %s
// windows that meet
func.func @main(%x: tensor<2x3x5x6xf32>) -> tensor<2x1x10x7xf32> {
  %w = convc.weight @w : tensor<3x1x4x3xf32>
  %b = convc.weight @b : tensor<1xf32>
  %y = convc.conv_transpose %x, %w bias %b strides [2, 1] pads [1, 1, 1, 1] dilations [1, 1] output_padding [0, 1]
    group 1 : (tensor<2x3x5x6xf32>, tensor<3x1x4x3xf32>, tensor<1xf32>) -> tensor<2x1x10x7xf32>
  func.return %y : tensor<2x1x10x7xf32>
}
// CHECK:      [[Y:%.*]] = convc.conv_transpose %x, {{.*}} bias {{.*}} strides [2, 1] pads [1, 1, 1, 1] dilations [1, 1]
// CHECK-SAME: output_padding [0, 1] group 1 : {{.*}} -> tensor<2x2x10x7xf32>
// CHECK-NEXT: convc.slice [[Y]] starts [0, 0, 0, 0] {{.*}} -> tensor<2x1x10x7xf32>

// -----
// two outputs, groups, weights and biases that are computed: all stay
!y = tensor<1x1x11xf32>
!t = tensor<1x1x9xf32>
!w = tensor<1x1x3xf32>
func.func @main(%x: !t, %z: tensor<1x2x9xf32>, %v: !w, %c: tensor<1xf32>) -> (tensor<1x2x11xf32>, tensor<1x2x11xf32>,
    !y, !y) {
  %w = convc.weight @w : !w
  %u = convc.weight @u : tensor<1x2x3xf32>
  %t = convc.weight @t : tensor<2x1x3xf32>
  %1 = convc.conv_transpose %x, %u strides [1] pads [0, 0] dilations [1] output_padding [0] group 1
    : (!t, tensor<1x2x3xf32>) -> tensor<1x2x11xf32>
  %2 = convc.conv_transpose %z, %t strides [1] pads [0, 0] dilations [1] output_padding [0] group 2
    : (tensor<1x2x9xf32>, tensor<2x1x3xf32>) -> tensor<1x2x11xf32>
  %3 = convc.conv_transpose %x, %v strides [1] pads [0, 0] dilations [1] output_padding [0] group 1 : (!t, !w) -> !y
  %4 = convc.conv_transpose %x, %w bias %c strides [1] pads [0, 0] dilations [1] output_padding [0] group 1
    : (!t, !w, tensor<1xf32>) -> !y
  func.return %1, %2, %3, %4 : tensor<1x2x11xf32>, tensor<1x2x11xf32>, !y, !y
}
// CHECK-NOT: convc.slice
