// RUN: convc opt %s -p fuse,assign-layouts{channel_block=8} | filecheck %s
// what convolves is blocked, and so is what lies between; the ends are plain
!t = tensor<1x8x6x6xf32>
func.func @main(%x: !t) -> !t {
  %w = convc.weight @w : tensor<8x8x1x1xf32>
  %v = convc.weight @v : tensor<8x8x1x1xf32>
  %a = convc.conv %x, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!t, tensor<8x8x1x1xf32>) -> !t
  %p = convc.pool max %a kernel [3, 3] strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] : (!t) -> !t
  %e = convc.elementwise exp(%p) : (!t) -> !t
  %y = convc.conv %e, %v strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!t, tensor<8x8x1x1xf32>) -> !t
  func.return %y : !t
}
// CHECK:      [[X:%.*]] = convc.relayout %x : (tensor<1x8x6x6xf32>) -> tensor<1x8x6x6xf32, #convc.layout<"NCHW8c">>
// CHECK:      convc.relayout %w {{.*}} #convc.layout<"OIHW8i8o">
// CHECK:      %a = convc.kernel([[X]],
// CHECK-NOT:  convc.relayout
// CHECK:      %y = convc.kernel(%e
// CHECK:      [[Y:%.*]] = convc.relayout %y : (tensor<1x8x6x6xf32, #convc.layout<"NCHW8c">>) -> tensor<1x8x6x6xf32>
// CHECK-NEXT: func.return [[Y]]

// -----
// few input channels stay plain: the first layer; a depthwise weight has no block of inputs
!i = tensor<1x3x6x6xf32>
!t = tensor<1x16x6x6xf32>
func.func @main(%x: !i) -> !t {
  %w = convc.weight @w : tensor<16x3x1x1xf32>
  %b = convc.weight @b : tensor<16xf32>
  %d = convc.weight @d : tensor<16x1x3x3xf32>
  %a = convc.conv %x, %w bias %b strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1
    : (!i, tensor<16x3x1x1xf32>, tensor<16xf32>) -> !t
  %y = convc.conv %a, %d strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] group 16 : (!t, tensor<16x1x3x3xf32>) -> !t
  func.return %y : !t
}
// CHECK-NOT:  convc.relayout %x
// CHECK-DAG:  convc.relayout %w {{.*}} #convc.layout<"OIHW8o">
// CHECK-DAG:  convc.relayout %b {{.*}} #convc.layout<"O8o">
// CHECK-DAG:  convc.relayout %d {{.*}} #convc.layout<"OIHW8o">

// -----
// groups that share a block, and a single output channel, are computed in plain layout
!t = tensor<1x8x6x6xf32>
func.func @main(%x: !t) -> (!t, tensor<1x1x6x6xf32>) {
  %w = convc.weight @w : tensor<8x4x1x1xf32>
  %v = convc.weight @v : tensor<1x8x1x1xf32>
  %a = convc.conv %x, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 2 : (!t, tensor<8x4x1x1xf32>) -> !t
  %y = convc.conv %x, %v strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1
    : (!t, tensor<1x8x1x1xf32>) -> tensor<1x1x6x6xf32>
  func.return %a, %y : !t, tensor<1x1x6x6xf32>
}
// CHECK-NOT: convc.layout

// -----
// a product's weight in blocks of its outputs: one vector for rows, a stream of up to eight for a single row
func.func @main(%x: tensor<3x5xf32>, %y: tensor<1x5xf32>) -> (tensor<3x20xf32>, tensor<1x20xf32>) {
  %w = convc.weight @w : tensor<20x5xf32>
  %a = convc.matmul %x, %w transpose_b : (tensor<3x5xf32>, tensor<20x5xf32>) -> tensor<3x20xf32>
  %b = convc.matmul %y, %w transpose_b : (tensor<1x5xf32>, tensor<20x5xf32>) -> tensor<1x20xf32>
  func.return %a, %b : tensor<3x20xf32>, tensor<1x20xf32>
}
// CHECK-DAG: convc.relayout %w {{.*}} #convc.layout<"OI8o">
// CHECK-DAG: convc.relayout %w {{.*}} #convc.layout<"OI24o">

// -----
// a value read in two layouts is changed once for each
!t = tensor<1x8x6x6xf32>
func.func @main(%x: !t) -> (!t, !t, tensor<1x8x6xf32>) {
  %w = convc.weight @w : tensor<8x8x1x1xf32>
  %a = convc.conv %x, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!t, tensor<8x8x1x1xf32>) -> !t
  %b = convc.conv %x, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!t, tensor<8x8x1x1xf32>) -> !t
  %s = convc.reduce sum %x axes [3] : (!t) -> tensor<1x8x6xf32>
  func.return %a, %b, %s : !t, !t, tensor<1x8x6xf32>
}
// CHECK-COUNT-1: convc.relayout %x
// CHECK-NOT:     convc.relayout %x

// -----
// a pool of as many channels as a block has is blocked whatever it reads; one of fewer follows
!t = tensor<1x8x6x6xf32>
!s = tensor<1x7x6x6xf32>
func.func @main(%x: !t, %z: !s) -> (!t, !s) {
  %y = convc.pool max %x kernel [3, 3] strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] : (!t) -> !t
  %v = convc.pool max %z kernel [3, 3] strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] : (!s) -> !s
  func.return %y, %v : !t, !s
}
// CHECK:      [[X:%.*]] = convc.relayout %x : (tensor<1x8x6x6xf32>) -> tensor<1x8x6x6xf32, #convc.layout<"NCHW8c">>
// CHECK:      %y = convc.kernel([[X]]
// CHECK:      %v = convc.kernel(%z

// -----
// what is written in plain layout is resized in it: a small value is changed, not a large one
!t = tensor<1x5x4x4xf32>
!u = tensor<1x5x32x32xf32>
func.func @main(%x: tensor<1x16x4x4xf32>) -> !u {
  %w = convc.weight @w : tensor<5x16x1x1xf32>
  %a = convc.conv %x, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1
    : (tensor<1x16x4x4xf32>, tensor<5x16x1x1xf32>) -> !t
  %p = convc.pool max %a kernel [3, 3] strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] : (!t) -> !t
  %y = convc.resize %p mode "linear" coordinates "half_pixel" nearest "floor"
    scales [1.0 : f64, 1.0 : f64, 8.0 : f64, 8.0 : f64] roi [] cubic_coeff -0.75 : f64 extrapolation 0.0 : f64
    exclude_outside 0 antialias 0 : (!t) -> !u
  func.return %y : !u
}
// CHECK:     convc.kernel
// CHECK-NOT: convc.relayout {{.*}}x32x32

// -----
// what is picked of a vector before a shuffle stays plain
func.func @main(%x: tensor<8xf32>) -> tensor<2x1x3xf32> {
  %a = convc.slice %x starts [2] steps [1] : (tensor<8xf32>) -> tensor<3xf32>
  %b = convc.slice %x starts [0] steps [1] : (tensor<8xf32>) -> tensor<3xf32>
  %c = convc.concat %a, %b axis 0 : (tensor<3xf32>, tensor<3xf32>) -> tensor<6xf32>
  %r = convc.reshape %c : (tensor<6xf32>) -> tensor<1x3x2xf32>
  %y = convc.transpose %r perm [2, 0, 1] : (tensor<1x3x2xf32>) -> tensor<2x1x3xf32>
  func.return %y : tensor<2x1x3xf32>
}
// CHECK-NOT: convc.layout
