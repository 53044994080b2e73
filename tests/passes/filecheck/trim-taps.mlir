// RUN: convc opt %s -p trim-taps | filecheck %s
// the outer taps reach over the whole image: the middle one is left
func.func @main(%x: tensor<1x8x16x16xf32>) -> tensor<1x4x16x16xf32> {
  %w = convc.weight @w : tensor<4x8x3x3xf32>
  %b = convc.weight @b : tensor<4xf32>
  %y = convc.conv %x, %w bias %b strides [1, 1] pads [24, 24, 24, 24] dilations [24, 24] group 1
    : (tensor<1x8x16x16xf32>, tensor<4x8x3x3xf32>, tensor<4xf32>) -> tensor<1x4x16x16xf32>
  func.return %y : tensor<1x4x16x16xf32>
}
// CHECK: convc.conv %x, {{.*}} bias %b strides [1, 1] pads [0, 0, 0, 0] dilations [24, 24] group 1 : (tensor<1x8x16x16xf32>, tensor<4x8x1x1xf32>, tensor<4xf32>)

// -----
// one axis only, one end only: a pad that is no multiple of the dilation stays in part
func.func @main(%x: tensor<1x8x4x9xf32>) -> tensor<1x4x3x9xf32> {
  %w = convc.weight @w : tensor<4x4x3x3xf32>
  %y = convc.conv %x, %w strides [2, 1] pads [7, 1, 4, 1] dilations [5, 1] group 2
    : (tensor<1x8x4x9xf32>, tensor<4x4x3x3xf32>) -> tensor<1x4x3x9xf32>
  func.return %y : tensor<1x4x3x9xf32>
}
// CHECK: convc.conv %x, {{.*}} strides [2, 1] pads [2, 1, 4, 1] dilations [5, 1] group 2 : (tensor<1x8x4x9xf32>, tensor<4x4x2x3xf32>)

// -----
// every tap reads an element of x for some output; weights that are computed stay too
!x = tensor<1x8x16x16xf32>
!w = tensor<4x8x3x3xf32>
func.func @main(%x: !x, %v: !w) -> (tensor<1x4x16x16xf32>, tensor<1x4x16x16xf32>) {
  %w = convc.weight @w : !w
  %y = convc.conv %x, %w strides [1, 1] pads [15, 15, 15, 15] dilations [15, 15] group 1
    : (!x, !w) -> tensor<1x4x16x16xf32>
  %z = convc.conv %x, %v strides [1, 1] pads [16, 16, 16, 16] dilations [16, 16] group 1
    : (!x, !w) -> tensor<1x4x16x16xf32>
  func.return %y, %z : tensor<1x4x16x16xf32>, tensor<1x4x16x16xf32>
}
// CHECK: %y = convc.conv %x, %w
// CHECK: %z = convc.conv %x, %v
