package loop

import (
	"math/rand/v2"
	"net/netip"
	"syscall"
	"time"
)

// faultIO is a netIO that misbehaves as an operating system may. Benign faults are those that no client can see: reads and writes that move little, EAGAIN though
// there would be more (an event follows, as when the bytes had come later), waits that return early, accepts that fail. Hostile ones are those of networks and peers:
// resets, broken pipes, refused and unreachable connections, no descriptors.
type faultIO struct {
	netIO
	rnd     *rand.Rand
	hostile bool
	fds     map[int]*faultFD
	owed    []int // descriptors whose events are owed
}

type faultFD struct {
	token              uint64
	listener, eof      bool
	readable, writable bool // owed
}

func newFaultIO(io netIO, seed uint64, hostile bool) *faultIO {
	return &faultIO{netIO: io, rnd: rand.New(rand.NewPCG(seed, 1)), hostile: hostile, fds: map[int]*faultFD{}}
}

// one tells whether the fault that happens once in n times happens now.
func (f *faultIO) one(n int) bool { return f.rnd.IntN(n) == 0 }

func (f *faultIO) add(fd int, token uint64, listener bool) error {
	f.fds[fd] = &faultFD{token: token, listener: listener}
	return f.netIO.add(fd, token, listener)
}

func (f *faultIO) remove(fd int) {
	delete(f.fds, fd)
	f.netIO.remove(fd)
}

func (f *faultIO) close(fd int) {
	delete(f.fds, fd)
	f.netIO.close(fd)
}

func (f *faultIO) owe(fd int, read bool) {
	s := f.fds[fd]
	if !s.readable && !s.writable {
		f.owed = append(f.owed, fd)
	}
	if read {
		s.readable = true
	} else {
		s.writable = true
	}
}

func (f *faultIO) wait(events []event, timeout time.Duration, spin bool) (int, error) {
	if f.one(20) {
		return 0, nil // EINTR
	}
	if len(f.owed) > 0 {
		timeout, spin = 0, true
	}
	n, err := f.netIO.wait(events[:len(events)/2], timeout, spin)
	if err != nil {
		return n, err
	}
	for i := range events[:n] {
		if !events[i].eof {
			continue
		}
		for _, s := range f.fds {
			if s.token == events[i].token {
				s.eof = true
			}
		}
	}
	var later []int
	for _, fd := range f.owed {
		s := f.fds[fd]
		switch {
		case s == nil || !s.readable && !s.writable:
		case n == len(events) || f.one(3):
			later = append(later, fd)
		default:
			events[n] = event{token: s.token, readable: s.readable, writable: s.writable}
			s.readable, s.writable = false, false
			n++
		}
	}
	f.owed = later
	f.rnd.Shuffle(n, func(i, j int) { events[i], events[j] = events[j], events[i] })
	return n, nil
}

func (f *faultIO) accept(fd int) (int, netip.AddrPort, syscall.Errno) {
	switch {
	case f.one(10):
		return -1, netip.AddrPort{}, syscall.ECONNABORTED
	case f.one(10):
		return -1, netip.AddrPort{}, syscall.EAGAIN
	case f.hostile && f.one(20):
		return -1, netip.AddrPort{}, syscall.EMFILE
	}
	return f.netIO.accept(fd)
}

func (f *faultIO) dial(a netip.AddrPort) (int, syscall.Errno) {
	if f.hostile {
		switch {
		case f.one(30):
			return -1, syscall.ECONNREFUSED
		case f.one(30):
			return -1, syscall.EMFILE
		case f.one(30):
			return -1, syscall.ENETUNREACH
		}
	}
	return f.netIO.dial(a)
}

func (f *faultIO) dialed(fd int) syscall.Errno {
	if f.hostile && f.one(20) {
		return syscall.ETIMEDOUT
	}
	return f.netIO.dialed(fd)
}

func (f *faultIO) read(fd int, p []byte) (int, syscall.Errno) {
	if f.hostile && f.one(100) {
		return -1, syscall.ECONNRESET
	}
	// Once the peer has finished everything it sent is there, and the system says so.
	if f.fds[fd].eof {
		return f.netIO.read(fd, p)
	}
	switch {
	case f.one(5):
		f.owe(fd, true)
		return -1, syscall.EAGAIN
	case f.one(2) && len(p) > 1:
		n, errno := f.netIO.read(fd, p[:1+f.rnd.IntN(min(len(p)-1, 300))])
		if errno == 0 && n > 0 {
			f.owe(fd, true)
		}
		return n, errno
	}
	return f.netIO.read(fd, p)
}

func (f *faultIO) write(fd int, p []byte) (int, syscall.Errno) {
	if f.hostile && f.one(100) {
		return -1, syscall.EPIPE
	}
	switch {
	case f.one(5):
		f.owe(fd, false)
		return -1, syscall.EAGAIN
	case f.one(2) && len(p) > 1:
		f.owe(fd, false)
		return f.netIO.write(fd, p[:1+f.rnd.IntN(len(p)-1)])
	}
	return f.netIO.write(fd, p)
}

func (f *faultIO) write2(fd int, p, q []byte) (int, syscall.Errno) {
	if f.one(2) {
		f.owe(fd, false)
		return f.write(fd, p)
	}
	if f.one(3) && len(q) > 1 {
		f.owe(fd, false)
		return f.netIO.write2(fd, p, q[:1+f.rnd.IntN(len(q)-1)])
	}
	return f.netIO.write2(fd, p, q)
}

// The faults of peek and shutdownWrite are those of the system itself.
var _ netIO = (*faultIO)(nil)
