// RUN: convc opt %s -p 'fuse,assign-layouts{channel_block=16},prepack-weights,find-views,fuse-depthwise{target="cpu:skylake-avx512"}' | filecheck %s
// kernel(kernel(x, v) { conv, relu }, w) { depthwise conv } => one kernel in another
!t = tensor<1x16x160x160xf32>
!m = tensor<1x64x160x160xf32>
func.func @main(%x: !t) -> !m {
  %v = convc.weight @v : tensor<64x16x1x1xf32>
  %w = convc.weight @w : tensor<64x1x3x3xf32>
  %c = convc.conv %x, %v strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!t, tensor<64x16x1x1xf32>) -> !m
  %r = convc.elementwise relu(%c) : (!m) -> !m
  %y = convc.conv %r, %w strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] group 64 : (!m, tensor<64x1x3x3xf32>) -> !m
  func.return %y : !m
}
// CHECK:      %y = convc.kernel(%{{.*}}, %{{.*}}, %{{.*}})
// CHECK:        %{{.*}} = convc.kernel(%{{.*}}, %{{.*}})
// CHECK:          convc.conv
// CHECK-NEXT:     %r = convc.elementwise relu
// CHECK-NEXT:     convc.yield
// CHECK:        convc.conv {{.*}} group 64
// CHECK-NEXT:   convc.yield
// CHECK-NOT:  convc.kernel

// -----
// a map that stays in the caches, and one that something else reads
!s = tensor<1x16x40x40xf32>
!t = tensor<1x16x160x160xf32>
!n = tensor<1x64x40x40xf32>
!m = tensor<1x64x160x160xf32>
func.func @main(%x: !s, %z: !t) -> (!n, !m, !m) {
  %v = convc.weight @v : tensor<64x16x1x1xf32>
  %w = convc.weight @w : tensor<64x1x3x3xf32>
  %c = convc.conv %x, %v strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!s, tensor<64x16x1x1xf32>) -> !n
  %y = convc.conv %c, %w strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] group 64 : (!n, tensor<64x1x3x3xf32>) -> !n
  %d = convc.conv %z, %v strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!t, tensor<64x16x1x1xf32>) -> !m
  %e = convc.conv %d, %w strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] group 64 : (!m, tensor<64x1x3x3xf32>) -> !m
  func.return %y, %d, %e : !n, !m, !m
}
// CHECK:      %c = convc.kernel
// CHECK:      %y = convc.kernel
// CHECK:      %d = convc.kernel
// CHECK:      %e = convc.kernel
