// RUN: convc opt %s -p 'fuse,assign-layouts{channel_block=4 chunks=true}' | filecheck %s
// for a GPU weights are chunks of inputs, the first layer has blocks too, and products keep their weights
!i = tensor<1x3x6x6xf32>
!t = tensor<1x16x6x6xf32>
!f = tensor<1x576xf32>
func.func @main(%x: !i) -> tensor<1x10xf32> {
  %w = convc.weight @w : tensor<16x3x1x1xf32>
  %d = convc.weight @d : tensor<16x1x3x3xf32>
  %v = convc.weight @v : tensor<10x576xf32>
  %a = convc.conv %x, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!i, tensor<16x3x1x1xf32>) -> !t
  %b = convc.conv %a, %d strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] group 16 : (!t, tensor<16x1x3x3xf32>) -> !t
  %r = convc.reshape %b : (!t) -> !f
  %y = convc.matmul %r, %v transpose_b : (!f, tensor<10x576xf32>) -> tensor<1x10xf32>
  func.return %y : tensor<1x10xf32>
}
// CHECK-DAG:  convc.relayout %x {{.*}} #convc.layout<"CNHW4c">
// CHECK-DAG:  convc.relayout %w {{.*}} #convc.layout<"IHWO4i">
// CHECK-DAG:  convc.relayout %d {{.*}} #convc.layout<"OIHW4o">
// CHECK-NOT:  convc.relayout %v
