// RUN: convc opt %s -p fuse | filecheck %s
// relu(add(conv(x, w), r)) => kernel(x, w, r) { conv, add, relu }
!t = tensor<1x4x6x6xf32>
func.func @main(%x: !t, %r: !t) -> !t {
  %w = convc.weight @w : tensor<4x4x1x1xf32>
  %a = convc.conv %x, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!t, tensor<4x4x1x1xf32>) -> !t
  %b = convc.elementwise add(%a, %r) : (!t, !t) -> !t
  %y = convc.elementwise relu(%b) : (!t) -> !t
  func.return %y : !t
}
// CHECK:      %y = convc.kernel(%x, %w, %r)
// CHECK:        %a = convc.conv
// CHECK-NEXT:   %b = convc.elementwise add(%a, %{{.*}})
// CHECK-NEXT:   %y{{.*}} = convc.elementwise relu(%b)
// CHECK-NEXT:   convc.yield
// CHECK:      func.return %y

// -----
// a value that two read stays in memory; x * sigmoid(x) reads it once
!t = tensor<1x4x6x6xf32>
func.func @main(%x: !t) -> (!t, !t) {
  %w = convc.weight @w : tensor<4x4x1x1xf32>
  %a = convc.conv %x, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!t, tensor<4x4x1x1xf32>) -> !t
  %s = convc.elementwise sigmoid(%a) : (!t) -> !t
  %m = convc.elementwise mul(%a, %s) : (!t, !t) -> !t
  %n = convc.elementwise neg(%m) : (!t) -> !t
  func.return %m, %n : !t, !t
}
// CHECK:      %m = convc.kernel(%x, %w)
// CHECK:        convc.conv
// CHECK-NEXT:   convc.elementwise sigmoid
// CHECK-NEXT:   convc.elementwise mul
// CHECK-NEXT:   convc.yield
// CHECK:      %n = convc.kernel(%m)
// CHECK:        convc.elementwise neg

// -----
// two anchors never share a kernel, nor does what changes the shape of an anchor's result
!t = tensor<1x4x6x6xf32>
func.func @main(%x: !t) -> tensor<1x4x4x4xf32> {
  %w = convc.weight @w : tensor<4x4x1x1xf32>
  %a = convc.conv %x, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1 : (!t, tensor<4x4x1x1xf32>) -> !t
  %p = convc.pool max %a kernel [3, 3] strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] : (!t) -> !t
  %y = convc.slice %p starts [0, 0, 1, 1] steps [1, 1, 1, 1] : (!t) -> tensor<1x4x4x4xf32>
  func.return %y : tensor<1x4x4x4xf32>
}
// CHECK-COUNT-3: = convc.kernel
// CHECK-NOT:     = convc.kernel

// -----
// a join of whole blocks of channels stays alone; one of parts of blocks joins what reads it
!a = tensor<1x16x3x3xf32>
!b = tensor<1x32x3x3xf32>
!c = tensor<1x6x3x3xf32>
!d = tensor<1x12x3x3xf32>
func.func @main(%x: !a, %y: !c) -> (!b, !d) {
  %e = convc.elementwise exp(%x) : (!a) -> !a
  %n = convc.elementwise neg(%e) : (!a) -> !a
  %j = convc.concat %e, %n axis 1 : (!a, !a) -> !b
  %r = convc.elementwise relu(%j) : (!b) -> !b
  %k = convc.concat %y, %y axis 1 : (!c, !c) -> !d
  %s = convc.elementwise relu(%k) : (!d) -> !d
  func.return %r, %s : !b, !d
}
// CHECK:      %j = convc.kernel
// CHECK-NEXT: ^bb0
// CHECK-NEXT:   convc.concat
// CHECK-NEXT:   convc.yield
// CHECK:      %s = convc.kernel
// CHECK:        convc.concat
// CHECK-NEXT:   convc.elementwise relu

// -----
// a reshape stays outside: a view; what is returned is fresh memory
!t = tensor<2x6xf32>
func.func @main(%x: !t) -> (tensor<3x4xf32>, !t) {
  %y = convc.reshape %x : (!t) -> tensor<3x4xf32>
  func.return %y, %x : tensor<3x4xf32>, !t
}
// CHECK:      [[R:%.*]] = convc.reshape %x
// CHECK-NEXT: [[A:%.*]] = convc.kernel([[R]])
// CHECK:        convc.yield
// CHECK:      [[B:%.*]] = convc.kernel(%x)
// CHECK:        convc.yield
// CHECK:      func.return [[A]], [[B]]

// -----
// a shuffle of joined channels is one kernel; two transposes around a reshape are two
!p = tensor<1x3x4x5xf32>
!j = tensor<1x6x4x5xf32>
!g = tensor<1x2x3x4x5xf32>
!s = tensor<1x3x2x4x5xf32>
!t = tensor<4x3x2x5x1xf32>
func.func @main(%x: !p, %y: !p) -> (!j, !t) {
  %c = convc.concat %x, %y axis 1 : (!p, !p) -> !j
  %g = convc.reshape %c : (!j) -> !g
  %s = convc.transpose %g perm [0, 2, 1, 3, 4] : (!g) -> !s
  %z = convc.reshape %s : (!s) -> !j
  %a = convc.transpose %x perm [2, 1, 0, 3] : (!p) -> tensor<4x3x1x5xf32>
  %b = convc.reshape %a : (tensor<4x3x1x5xf32>) -> tensor<4x3x5x1x1xf32>
  %d = convc.transpose %b perm [0, 1, 3, 2, 4] : (tensor<4x3x5x1x1xf32>) -> tensor<4x3x1x5x1xf32>
  %e = convc.concat %d, %d axis 2 : (tensor<4x3x1x5x1xf32>, tensor<4x3x1x5x1xf32>) -> !t
  func.return %z, %e : !j, !t
}
// CHECK:      %s = convc.kernel(%x, %y)
// CHECK:        convc.concat
// CHECK-NEXT:   convc.reshape
// CHECK-NEXT:   convc.transpose
// CHECK-NEXT:   convc.yield
// CHECK:      convc.reshape %s
// CHECK:      %a = convc.kernel
// CHECK-NEXT: ^bb0
// CHECK-NEXT:   convc.transpose
// CHECK-NEXT:   convc.yield
// CHECK:      convc.reshape %a

// -----
// a join that is read beside its shuffle stays a kernel of its own
!p = tensor<1x6x4x5xf32>
!g = tensor<1x2x3x4x5xf32>
!s = tensor<1x3x2x4x5xf32>
func.func @main(%x: !p) -> (!p, !s) {
  %c = convc.slice %x starts [0, 5, 0, 0] steps [1, -1, 1, 1] : (!p) -> !p
  %g = convc.reshape %c : (!p) -> !g
  %s = convc.transpose %g perm [0, 2, 1, 3, 4] : (!g) -> !s
  func.return %c, %s : !p, !s
}
// CHECK:      [[C:%.*]] = convc.kernel(%x)
// CHECK:        convc.slice
// CHECK-NEXT:   convc.yield
// CHECK:      [[G:%.*]] = convc.reshape [[C]]
// CHECK-NEXT: [[S:%.*]] = convc.kernel([[G]])
// CHECK:        convc.transpose
// CHECK:      func.return [[C]], [[S]]

// -----
// a join along the outermost axis stays alone where its parts are whole cache lines
!a = tensor<2x16xf32>
!b = tensor<4x16xf32>
!c = tensor<2x15xf32>
!d = tensor<4x15xf32>
func.func @main(%x: !a, %y: !c) -> (!b, !d) {
  %e = convc.elementwise exp(%x) : (!a) -> !a
  %n = convc.elementwise neg(%x) : (!a) -> !a
  %j = convc.concat %e, %n axis 0 : (!a, !a) -> !b
  %f = convc.elementwise exp(%y) : (!c) -> !c
  %m = convc.elementwise neg(%y) : (!c) -> !c
  %k = convc.concat %f, %m axis 0 : (!c, !c) -> !d
  func.return %j, %k : !b, !d
}
// CHECK:      %j = convc.kernel(%e, %n)
// CHECK-NEXT: ^bb0
// CHECK-NEXT:   convc.concat
// CHECK:      %k = convc.kernel(%y)
// CHECK:        convc.concat
