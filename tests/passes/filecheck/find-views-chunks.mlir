// RUN: convc opt %s -p 'fuse{channel_block=8 chunks=true},assign-layouts{channel_block=8 chunks=true},prepack-weights,outline-relayouts,find-views' | filecheck %s
// of a batch, chunks of channels have all images side by side: a join's parts are computed where they lie in it
!a = tensor<2x16x7x7xf32>
!b = tensor<2x8x7x7xf32>
!c = tensor<2x24x7x7xf32>
func.func @main(%x: !a) -> !c {
  %w = convc.weight @w : tensor<16x16x1x1xf32>
  %v = convc.weight @v : tensor<8x16x3x3xf32>
  %u = convc.weight @u : tensor<24x24x1x1xf32>
  %e = convc.conv %x, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!a, tensor<16x16x1x1xf32>) -> !a
  %n = convc.conv %x, %v strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] group 1 : (!a, tensor<8x16x3x3xf32>) -> !b
  %j = convc.concat %n, %e axis 1 : (!b, !a) -> !c
  %y = convc.conv %j, %u strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!c, tensor<24x24x1x1xf32>) -> !c
  func.return %y : !c
}
// CHECK:      %e = convc.kernel
// CHECK:      %n = convc.kernel
// CHECK:      {{^ *}}%j = convc.concat %n, %e axis 1
// CHECK-SAME: #convc.layout<"CNHW8c">

// -----
// a part that others read too, and a join that is a part of another: one buffer that grows, of any batch
!a = tensor<3x16x5x5xf32>
!b = tensor<3x32x5x5xf32>
!c = tensor<3x48x5x5xf32>
func.func @main(%x: !a) -> !c {
  %w = convc.weight @w : tensor<16x16x1x1xf32>
  %v = convc.weight @v : tensor<16x32x1x1xf32>
  %u = convc.weight @u : tensor<48x48x1x1xf32>
  %e = convc.conv %x, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!a, tensor<16x16x1x1xf32>) -> !a
  %n = convc.conv %e, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!a, tensor<16x16x1x1xf32>) -> !a
  %j = convc.concat %e, %n axis 1 : (!a, !a) -> !b
  %f = convc.conv %j, %v strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!b, tensor<16x32x1x1xf32>) -> !a
  %k = convc.concat %j, %f axis 1 : (!b, !a) -> !c
  %y = convc.conv %k, %u strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!c, tensor<48x48x1x1xf32>) -> !c
  func.return %y : !c
}
// CHECK:      {{^ *}}%j = convc.concat %e, %n axis 1
// CHECK:      {{^ *}}%k = convc.concat %j, %f axis 1

// -----
// what must lie elsewhere is copied, and that alone: an input, a value that is two parts
!a = tensor<2x8x4x4xf32>
!c = tensor<2x32x4x4xf32>
func.func @main(%x: !a) -> !c {
  %w = convc.weight @w : tensor<8x8x1x1xf32>
  %u = convc.weight @u : tensor<32x32x1x1xf32>
  %e = convc.conv %x, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!a, tensor<8x8x1x1xf32>) -> !a
  %n = convc.conv %e, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!a, tensor<8x8x1x1xf32>) -> !a
  %j = convc.concat %n, %e, %n, %x axis 1 : (!a, !a, !a, !a) -> !c
  %y = convc.conv %j, %u strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!c, tensor<32x32x1x1xf32>) -> !c
  func.return %y : !c
}
// CHECK:      [[X:%.*]] = convc.kernel(%x)
// CHECK:        convc.relayout
// CHECK:      [[N:%.*]] = convc.kernel(%n)
// CHECK-NEXT: ^bb0
// CHECK-NEXT:   convc.yield
// CHECK:      %j = convc.concat %n, %e, [[N]], [[X]] axis 1

// -----
// a slice of whole chunks is a range of memory, at whatever channel it begins
!a = tensor<4x48x5x5xf32>
!h = tensor<4x16x5x5xf32>
func.func @main(%x: !a) -> !h {
  %w = convc.weight @w : tensor<16x16x1x1xf32>
  %v = convc.weight @v : tensor<48x48x1x1xf32>
  %e = convc.conv %x, %v strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!a, tensor<48x48x1x1xf32>) -> !a
  %s = convc.slice %e starts [0, 24, 0, 0] steps [1, 1, 1, 1] : (!a) -> !h
  %y = convc.conv %s, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!h, tensor<16x16x1x1xf32>) -> !h
  func.return %y : !h
}
// CHECK:      {{^ *}}%s = convc.slice %e starts [0, 24, 0, 0]
// CHECK-SAME: #convc.layout<"CNHW8c">

// -----
// parts that do not fill their chunks are put together by a kernel
!a = tensor<2x12x4x4xf32>
!b = tensor<2x24x4x4xf32>
func.func @main(%x: !a) -> !b {
  %w = convc.weight @w : tensor<12x12x1x1xf32>
  %u = convc.weight @u : tensor<24x24x1x1xf32>
  %e = convc.conv %x, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!a, tensor<12x12x1x1xf32>) -> !a
  %n = convc.conv %e, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!a, tensor<12x12x1x1xf32>) -> !a
  %j = convc.concat %n, %e axis 1 : (!a, !a) -> !b
  %y = convc.conv %j, %u strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!b, tensor<24x24x1x1xf32>) -> !b
  func.return %y : !b
}
// CHECK:      {{^ *}}%j = convc.kernel(%n, %e)
