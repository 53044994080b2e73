// RUN: convc opt %s -p fuse,assign-layouts{channel_block=8},prepack-weights,outline-relayouts,find-views | filecheck %s
// a join whose parts are computed where they lie in it
!a = tensor<1x16x4x4xf32>
!b = tensor<1x32x4x4xf32>
func.func @main(%x: !a) -> !b {
  %w = convc.weight @w : tensor<16x16x1x1xf32>
  %e = convc.conv %x, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!a, tensor<16x16x1x1xf32>) -> !a
  %n = convc.elementwise neg(%e) : (!a) -> !a
  %j = convc.concat %e, %n axis 1 : (!a, !a) -> !b
  %r = convc.elementwise exp(%j) : (!b) -> !b
  func.return %r : !b
}
// CHECK:      %e = convc.kernel
// CHECK:      %n = convc.kernel
// CHECK:      {{^ *}}%j = convc.concat %e, %n axis 1

// -----
// a chain of joins is one buffer that grows: nothing is copied
!a = tensor<1x16x4x4xf32>
!b = tensor<1x32x4x4xf32>
!c = tensor<1x48x4x4xf32>
func.func @main(%x: !a) -> !c {
  %w = convc.weight @w : tensor<16x16x1x1xf32>
  %v = convc.weight @v : tensor<16x32x1x1xf32>
  %e = convc.conv %x, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!a, tensor<16x16x1x1xf32>) -> !a
  %n = convc.elementwise neg(%e) : (!a) -> !a
  %j = convc.concat %e, %n axis 1 : (!a, !a) -> !b
  %f = convc.conv %j, %v strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!b, tensor<16x32x1x1xf32>) -> !a
  %k = convc.concat %e, %n, %f axis 1 : (!a, !a, !a) -> !c
  %y = convc.elementwise exp(%k) : (!c) -> !c
  func.return %y : !c
}
// CHECK:      {{^ *}}%j = convc.concat %e, %n axis 1
// CHECK:      {{^ *}}%k = convc.concat %e, %n, %f axis 1

// -----
// a part that must lie elsewhere is copied: an input, and a value that is two parts
!a = tensor<1x16x4x4xf32>
!c = tensor<1x48x4x4xf32>
func.func @main(%x: !a) -> !c {
  %e = convc.elementwise exp(%x) : (!a) -> !a
  %j = convc.concat %x, %e, %e axis 1 : (!a, !a, !a) -> !c
  %y = convc.elementwise neg(%j) : (!c) -> !c
  func.return %y : !c
}
// CHECK:      %e = convc.kernel(%x)
// CHECK:      [[A:%.*]] = convc.kernel(%x)
// CHECK-NEXT: ^bb0
// CHECK-NEXT:   convc.yield
// CHECK:      [[B:%.*]] = convc.kernel(%e)
// CHECK-NEXT: ^bb0
// CHECK-NEXT:   convc.yield
// CHECK:      %j = convc.concat [[A]], %e, [[B]] axis 1

// -----
// joins that are no range of memory stay kernels: along another axis, of a batch, or where all parts are inputs
!a = tensor<1x16x4x4xf32>
!b = tensor<2x16x4x4xf32>
func.func @main(%x: !a, %y: !b) -> (tensor<1x16x8x4xf32>, tensor<2x32x4x4xf32>, tensor<1x32x4x4xf32>) {
  %e = convc.elementwise exp(%x) : (!a) -> !a
  %n = convc.elementwise neg(%e) : (!a) -> !a
  %i = convc.concat %e, %n axis 2 : (!a, !a) -> tensor<1x16x8x4xf32>
  %j = convc.concat %y, %y axis 1 : (!b, !b) -> tensor<2x32x4x4xf32>
  %k = convc.concat %x, %x axis 1 : (!a, !a) -> tensor<1x32x4x4xf32>
  func.return %i, %j, %k : tensor<1x16x8x4xf32>, tensor<2x32x4x4xf32>, tensor<1x32x4x4xf32>
}
// CHECK-NOT: {{^  *}}%{{[ijk]}} = convc.concat
// CHECK:     func.return

// -----
// a slice of whole blocks is a range of memory; so is one inside a block, of the plain value; one with steps is not
!a = tensor<1x32x4x4xf32>
!h = tensor<1x16x4x4xf32>
func.func @main(%x: !a) -> (!h, !h, !h) {
  %w = convc.weight @w : tensor<16x16x1x1xf32>
  %v = convc.weight @v : tensor<32x32x1x1xf32>
  %e = convc.conv %x, %v strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!a, tensor<32x32x1x1xf32>) -> !a
  %s = convc.slice %e starts [0, 16, 0, 0] steps [1, 1, 1, 1] : (!a) -> !h
  %t = convc.slice %e starts [0, 3, 0, 0] steps [1, 1, 1, 1] : (!a) -> !h
  %y = convc.conv %s, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!h, tensor<16x16x1x1xf32>) -> !h
  %z = convc.conv %t, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!h, tensor<16x16x1x1xf32>) -> !h
  %u = convc.slice %x starts [0, 0, 0, 0] steps [1, 2, 1, 1] : (!a) -> !h
  func.return %y, %z, %u : !h, !h, !h
}
// CHECK:      [[P:%.*]] = convc.kernel(%e)
// CHECK:        convc.relayout
// CHECK:      {{^  *}}%s = convc.slice %e starts [0, 16, 0, 0]
// CHECK:      {{^  *}}%t = convc.slice [[P]] starts [0, 3, 0, 0]
// CHECK:      %u = convc.kernel(%x)

// -----
// a layout change of one pixel moves nothing
!i = tensor<1x16x1x1xf32>
func.func @main(%x: !i) -> tensor<1x16xf32> {
  %w = convc.weight @w : tensor<16x16x1x1xf32>
  %a = convc.conv %x, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!i, tensor<16x16x1x1xf32>) -> !i
  %f = convc.reshape %a : (!i) -> tensor<1x16xf32>
  %y = convc.elementwise neg(%f) : (tensor<1x16xf32>) -> tensor<1x16xf32>
  func.return %y : tensor<1x16xf32>
}
// CHECK:      {{^  *}}%{{.*}} = convc.relayout %x
// CHECK:      {{^  *}}%{{.*}} = convc.relayout %a
