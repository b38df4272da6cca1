package userspace

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// maxDatagram is the largest UDP payload.
	maxDatagram = 65535
	// batchSize is how many datagrams one system call moves. With room for the largest in each place a batch takes 1 MiB of address space, and of memory
	// the pages that datagrams have filled.
	batchSize = 16
	// controlWords is room for IP_PKTINFO and IPV6_PKTINFO: a datagram of IPv4 to a socket of IPv6 has both.
	controlWords = 16
)

// batch is what recvmmsg has read (Linux 2.6.33) and sendmmsg passes on (3.0).
type batch struct {
	heads    [batchSize]mmsghdr
	iovs     [batchSize]unix.Iovec
	names    [batchSize]unix.RawSockaddrInet6
	controls [batchSize][controlWords]uint64
	// n is how many places hold a datagram; the heads of the others are ready for the next one.
	n int

	// The send that is going on: from place next up to end. write is a function made once, so that a send allocates nothing.
	next, end int
	errno     syscall.Errno
	write     func(fd uintptr) bool

	// data comes last: the garbage collector looks at what is before it only.
	data [batchSize][maxDatagram]byte
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	unix.Msghdr
	n uint32
}

// batches lends batches, so that what waits for datagrams has none.
var batches = sync.Pool{New: func() any { return newBatch() }}

func newBatch() *batch {
	b := &batch{n: batchSize}
	b.write = b.sendmmsg
	b.clear()
	return b
}

// clear makes every place ready for a datagram.
func (b *batch) clear() {
	for i := range b.n {
		b.iovs[i].Base = &b.data[i][0]
		b.iovs[i].SetLen(maxDatagram)
		h := &b.heads[i]
		h.Iov, h.Flags = &b.iovs[i], 0
		h.SetIovlen(1)
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&b.names[i])), unix.SizeofSockaddrInet6
		h.Control = (*byte)(unsafe.Pointer(&b.controls[i]))
		h.SetControllen(8 * controlWords)
	}
	b.n = 0
}

// release gives a batch back.
func (b *batch) release() {
	b.clear()
	batches.Put(b)
}

// receiver reads batches from a socket. One goroutine uses it.
type receiver struct {
	c     syscall.RawConn
	b     *batch
	errno syscall.Errno
	read  func(fd uintptr) bool // made once, as batch.write is
}

func newReceiver(c syscall.RawConn) *receiver {
	r := &receiver{c: c}
	r.read = r.recvmmsg
	return r
}

// receive waits for datagrams. The caller releases the batch.
func (r *receiver) receive() (*batch, error) {
	err := r.c.Read(r.read)
	b := r.b
	r.b = nil
	switch {
	case b == nil:
		return nil, err
	case r.errno != 0:
		b.release()
		return nil, r.errno
	}
	return b, nil
}

// recvmmsg is false when there is nothing to read.
func (r *receiver) recvmmsg(fd uintptr) bool {
	b := batches.Get().(*batch)
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.heads[0])), batchSize, unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			batches.Put(b)
			return false
		case 0:
			b.n = int(n)
		}
		r.b, r.errno = b, errno
		return true
	}
}

// control is what came with the datagram at a place.
func (b *batch) control(i int) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&b.controls[i])), 8*controlWords)[:b.heads[i].Controllen]
}

// sender is where it came from, with the interface for addresses that mean something on one link only.
func (b *batch) sender(i int) (from netip.AddrPort, scope uint32) {
	name := &b.names[i]
	if name.Family == unix.AF_INET {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), hostOrder(v4.Port)), 0
	}
	return netip.AddrPortFrom(netip.AddrFrom16(name.Addr).Unmap(), hostOrder(name.Port)), name.Scope_id
}

// hostOrder reads a port as the kernel has it in memory.
func hostOrder(port uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&port))
	return binary.BigEndian.Uint16(b[:])
}

// target is where datagrams go on a socket that is not connected, as the kernel has it.
type target struct {
	name    unix.RawSockaddrInet6
	length  uint32
	control []byte // says which address of ours they come from; nil leaves that to the kernel
}

// origin makes a target of the sender at a place.
func (b *batch) origin(i int) target {
	return target{name: b.names[i], length: b.heads[i].Namelen}
}

// send passes on the datagrams from place i up to j, to t or, when it is nil, to the socket's peer. It returns how many have left; the error is that of the next one.
func (b *batch) send(c syscall.RawConn, i, j int, t *target) (n int, err error) {
	for k := i; k < j; k++ {
		h := &b.heads[k]
		b.iovs[k].SetLen(int(h.n))
		h.Name, h.Namelen, h.Control = nil, 0, nil
		h.SetControllen(0)
		if t == nil {
			continue
		}
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&t.name)), t.length
		if len(t.control) > 0 {
			h.Control = &t.control[0]
			h.SetControllen(len(t.control))
		}
	}
	for b.next, b.end = i, j; b.next < b.end; {
		err := c.Write(b.write)
		switch n = b.next - i; {
		case err != nil:
			return n, err
		case b.errno != 0:
			return n, b.errno
		}
	}
	return j - i, nil
}

// sendmmsg is false when the socket has no room. What was sent has its length in n of the head, which it had before.
func (b *batch) sendmmsg(fd uintptr) bool {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&b.heads[b.next])), uintptr(b.end-b.next), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		case 0:
			b.next += int(n)
		}
		b.errno = errno
		return true
	}
}
