// RUN: convc opt %s -p find-shuffles | filecheck %s
// channels split into groups, the two axes swapped, joined again
!a = tensor<2x12x5x7xf32>
!s = tensor<2x3x4x5x7xf32>
!t = tensor<2x4x3x5x7xf32>
func.func @main(%x: !a) -> !a {
  %r = convc.reshape %x : (!a) -> !s
  %t = convc.transpose %r perm [0, 2, 1, 3, 4] : (!s) -> !t
  %y = convc.reshape %t : (!t) -> !a
  func.return %y : !a
}
// CHECK:      func.func
// CHECK-NEXT: [[Y:%.*]] = convc.shuffle %x groups 3
// CHECK-NEXT: func.return [[Y]]

// -----
// no shuffle of channels: other axes are swapped, a pixel is made of channels, groups are of two axes
!a = tensor<2x12x4x4xf32>
!s = tensor<2x3x4x4x4xf32>
!p = tensor<2x3x2x2x4x4xf32>
!q = tensor<2x3x4x2x4x2xf32>
!u = tensor<8x3x4x4xf32>
func.func @main(%x: !a) -> (!a, tensor<2x3x8x8xf32>, !a) {
  %r = convc.reshape %x : (!a) -> !s
  %t = convc.transpose %r perm [0, 1, 3, 2, 4] : (!s) -> !s
  %y = convc.reshape %t : (!s) -> !a
  %p = convc.reshape %x : (!a) -> !p
  %q = convc.transpose %p perm [0, 1, 4, 2, 5, 3] : (!p) -> !q
  %z = convc.reshape %q : (!q) -> tensor<2x3x8x8xf32>
  %u = convc.reshape %x : (!a) -> !s
  %v = convc.transpose %u perm [0, 2, 1, 3, 4] : (!s) -> tensor<2x4x3x4x4xf32>
  %w = convc.reshape %v : (tensor<2x4x3x4x4xf32>) -> tensor<2x4x3x16xf32>
  %k = convc.reshape %w : (tensor<2x4x3x16xf32>) -> !a
  func.return %y, %z, %k : !a, tensor<2x3x8x8xf32>, !a
}
// CHECK-NOT: convc.shuffle
// CHECK:     func.return

// -----
// each half shuffles what it needs of a join
!h = tensor<2x6x5x7xf32>
!a = tensor<2x12x5x7xf32>
func.func @main(%x: !h, %y: !h) -> (!h, !h) {
  %j = convc.concat %x, %y axis 1 : (!h, !h) -> !a
  %s = convc.shuffle %j groups 2 : (!a) -> !a
  %a = convc.slice %s starts [0, 0, 0, 0] steps [1, 1, 1, 1] : (!a) -> !h
  %b = convc.slice %s starts [0, 6, 0, 0] steps [1, 1, 1, 1] : (!a) -> !h
  func.return %a, %b : !h, !h
}
// CHECK:      %j = convc.concat %x, %y axis 1
// CHECK-NEXT: %s = convc.shuffle %j groups 2
// CHECK-NEXT: [[J:%.*]] = convc.concat %x, %y axis 1
// CHECK-NEXT: [[S:%.*]] = convc.shuffle [[J]] groups 2
// CHECK-NEXT: convc.slice [[S]] starts [0, 0, 0, 0]
// CHECK-NEXT: convc.slice %s starts [0, 6, 0, 0]

// -----
// what others read as a whole is computed as one
!h = tensor<2x6x5x7xf32>
!a = tensor<2x12x5x7xf32>
func.func @main(%x: !a) -> (!h, !a) {
  %s = convc.shuffle %x groups 2 : (!a) -> !a
  %a = convc.slice %s starts [0, 0, 0, 0] steps [1, 1, 1, 1] : (!a) -> !h
  %b = convc.elementwise exp(%s) : (!a) -> !a
  func.return %a, %b : !h, !a
}
// CHECK:     convc.shuffle
// CHECK-NOT: convc.shuffle
// CHECK:     func.return
