// RUN: convc opt %s -p gather-strides | filecheck %s
// two convolutions that read the same elements share a slice of them
!x = tensor<1x8x7x5xf32>
!y = tensor<1x256x4x3xf32>
func.func @main(%x: !x) -> (!y, !y) {
  %w = convc.weight @w : tensor<256x8x1x1xf32>
  %v = convc.weight @v : tensor<256x8x1x1xf32>
  %b = convc.weight @b : tensor<256xf32>
  %y = convc.conv %x, %w bias %b strides [2, 2] pads [0, 0, 0, 0] dilations [1, 1] group 1
    : (!x, tensor<256x8x1x1xf32>, tensor<256xf32>) -> !y
  %z = convc.conv %x, %v strides [2, 2] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!x, tensor<256x8x1x1xf32>) -> !y
  func.return %y, %z : !y, !y
}
// CHECK: [[PART:%.*]] = convc.slice %x starts [0, 0, 0, 0] steps [1, 1, 2, 2] : (tensor<1x8x7x5xf32>) -> tensor<1x8x4x3xf32>
// CHECK-NEXT: %y = convc.conv [[PART]], %w bias %b strides [1, 1] pads [0, 0, 0, 0]
// CHECK-NEXT: %z = convc.conv [[PART]], %v strides [1, 1]

// -----
// few outputs, windows, padding and groups stay
!x = tensor<1x8x8x8xf32>
!y = tensor<1x256x4x4xf32>
func.func @main(%x: !x) -> (tensor<1x64x4x4xf32>, !y, tensor<1x256x5x5xf32>, !y) {
  %w = convc.weight @w : tensor<64x8x1x1xf32>
  %v = convc.weight @v : tensor<256x8x2x2xf32>
  %u = convc.weight @u : tensor<256x8x1x1xf32>
  %t = convc.weight @t : tensor<256x4x1x1xf32>
  %a = convc.conv %x, %w strides [2, 2] pads [0, 0, 0, 0] dilations [1, 1] group 1
    : (!x, tensor<64x8x1x1xf32>) -> tensor<1x64x4x4xf32>
  %b = convc.conv %x, %v strides [2, 2] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!x, tensor<256x8x2x2xf32>) -> !y
  %c = convc.conv %x, %u strides [2, 2] pads [1, 1, 0, 0] dilations [1, 1] group 1
    : (!x, tensor<256x8x1x1xf32>) -> tensor<1x256x5x5xf32>
  %d = convc.conv %x, %t strides [2, 2] pads [0, 0, 0, 0] dilations [1, 1] group 2 : (!x, tensor<256x4x1x1xf32>) -> !y
  func.return %a, %b, %c, %d : tensor<1x64x4x4xf32>, !y, tensor<1x256x5x5xf32>, !y
}
// CHECK-NOT: convc.slice
// CHECK: %d = convc.conv %x, %t strides [2, 2]
