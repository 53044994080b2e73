// RUN: convc opt %s -p pair-groups{channel_block=8} | filecheck %s
// groups of four channels fill half a block
func.func @main(%x: tensor<1x16x5x6xf32>) -> tensor<1x16x3x6xf32> {
  %w = convc.weight @w : tensor<16x4x3x3xf32>
  %b = convc.weight @b : tensor<16xf32>
  %y = convc.conv %x, %w bias %b strides [2, 1] pads [1, 2, 1, 2] dilations [1, 2] group 4
    : (tensor<1x16x5x6xf32>, tensor<16x4x3x3xf32>, tensor<16xf32>) -> tensor<1x16x3x6xf32>
  func.return %y : tensor<1x16x3x6xf32>
}
// CHECK: convc.conv %x, {{.*}} bias %b strides [2, 1] pads [1, 2, 1, 2] dilations [1, 2] group 2
// CHECK-SAME: (tensor<1x16x5x6xf32>, tensor<16x8x3x3xf32>, tensor<16xf32>) -> tensor<1x16x3x6xf32>

// -----
// twice as many outputs as inputs, which then lie apart; one pair is a dense convolution
func.func @main(%x: tensor<2x8x9xf32>) -> tensor<2x16x9xf32> {
  %w = convc.weight @w : tensor<16x4x1xf32>
  %y = convc.conv %x, %w strides [1] pads [0, 0] dilations [1] group 2
    : (tensor<2x8x9xf32>, tensor<16x4x1xf32>) -> tensor<2x16x9xf32>
  func.return %y : tensor<2x16x9xf32>
}
// CHECK: convc.conv %x, {{.*}} group 1 : (tensor<2x8x9xf32>, tensor<16x8x1xf32>) -> tensor<2x16x9xf32>

// -----
// dense, whole blocks, quarters of blocks, an odd number of groups, depthwise, weights that are computed: all stay
!w = tensor<16x4x1xf32>
func.func @main(%x: tensor<1x16x9xf32>, %z: tensor<1x12x9xf32>, %v: !w) -> (tensor<1x4x9xf32>, tensor<1x16x9xf32>,
    tensor<1x16x9xf32>, tensor<1x12x9xf32>, tensor<1x16x9xf32>, tensor<1x16x9xf32>) {
  %1 = convc.weight @dense : tensor<4x16x1xf32>
  %2 = convc.weight @whole : tensor<16x8x1xf32>
  %3 = convc.weight @quarters : tensor<16x2x1xf32>
  %4 = convc.weight @odd : tensor<12x4x1xf32>
  %5 = convc.weight @depthwise : tensor<16x1x1xf32>
  %a = convc.conv %x, %1 strides [1] pads [0, 0] dilations [1] group 1
    : (tensor<1x16x9xf32>, tensor<4x16x1xf32>) -> tensor<1x4x9xf32>
  %b = convc.conv %x, %2 strides [1] pads [0, 0] dilations [1] group 2
    : (tensor<1x16x9xf32>, tensor<16x8x1xf32>) -> tensor<1x16x9xf32>
  %c = convc.conv %x, %3 strides [1] pads [0, 0] dilations [1] group 8
    : (tensor<1x16x9xf32>, tensor<16x2x1xf32>) -> tensor<1x16x9xf32>
  %d = convc.conv %z, %4 strides [1] pads [0, 0] dilations [1] group 3
    : (tensor<1x12x9xf32>, tensor<12x4x1xf32>) -> tensor<1x12x9xf32>
  %e = convc.conv %x, %5 strides [1] pads [0, 0] dilations [1] group 16
    : (tensor<1x16x9xf32>, tensor<16x1x1xf32>) -> tensor<1x16x9xf32>
  %f = convc.conv %x, %v strides [1] pads [0, 0] dilations [1] group 4
    : (tensor<1x16x9xf32>, !w) -> tensor<1x16x9xf32>
  func.return %a, %b, %c, %d, %e, %f : tensor<1x4x9xf32>, tensor<1x16x9xf32>, tensor<1x16x9xf32>, tensor<1x12x9xf32>,
    tensor<1x16x9xf32>, tensor<1x16x9xf32>
}
// CHECK: %a = convc.conv
// CHECK: %b = convc.conv
// CHECK: %c = convc.conv
// CHECK: %d = convc.conv
// CHECK: %e = convc.conv
// CHECK: %f = convc.conv
