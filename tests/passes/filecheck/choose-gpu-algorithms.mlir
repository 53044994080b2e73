// RUN: convc opt %s -p 'fuse{channel_block=4},assign-layouts{channel_block=4 chunks=true},choose-gpu-algorithms{target="cuda:sm_90a"}' | filecheck %s
// Many channels: Winograd's algorithm multiplies a quarter as often
// CHECK-LABEL: func.func @main
// CHECK: convc.weight {{.*}} : tensor<256x256x6x6xf32>
// CHECK: #convc.layout<"HWIO4i">
// CHECK: convc.winograd_conv
// CHECK-SAME: pads [1, 1, 1, 1] m 4
// CHECK-NOT: convc.conv
func.func @main(%x: tensor<4x256x14x14xf32>) -> tensor<4x256x14x14xf32> {
  %w = convc.weight @w : tensor<256x256x3x3xf32>
  %y = convc.conv %x, %w strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] group 1
    : (tensor<4x256x14x14xf32>, tensor<256x256x3x3xf32>) -> tensor<4x256x14x14xf32>
  func.return %y : tensor<4x256x14x14xf32>
}
// -----
// Few channels: what tiles move through memory costs more than the products that it saves
// CHECK-LABEL: func.func @main
// CHECK-NOT: convc.winograd_conv
// CHECK: convc.conv
func.func @main(%x: tensor<4x8x14x14xf32>) -> tensor<4x8x14x14xf32> {
  %w = convc.weight @w : tensor<8x8x3x3xf32>
  %y = convc.conv %x, %w strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] group 1
    : (tensor<4x8x14x14xf32>, tensor<8x8x3x3xf32>) -> tensor<4x8x14x14xf32>
  func.return %y : tensor<4x8x14x14xf32>
}
