package loop

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/l7/engine"
	"github.com/sluice-gateway/sluice/l7/h1"
	"github.com/sluice-gateway/sluice/l7/plugin"
)

// Config bounds what connections may do. New fills in the documented default for every zero field.
type Config struct {
	// Limits bounds heads, see package h1.
	Limits h1.Limits
	// HeaderTimeout is for a whole request head, from its first byte (10 s); on a new connection from the accept.
	HeaderTimeout time.Duration
	// BodyTimeout is the longest pause in a request body (30 s).
	BodyTimeout time.Duration
	// WriteTimeout is the longest time that a client takes no byte (30 s).
	WriteTimeout time.Duration
	// IdleTimeout is for kept-alive connections without a request (75 s).
	IdleTimeout time.Duration
	// HalfCloseGrace is how long a client that has shut down its sending side still gets to see the response begin (1 s). It looks the same as a client that is gone, so
	// the upstream request is cancelled afterwards.
	HalfCloseGrace time.Duration
	// KeepaliveRequests is the most requests on one connection (1000).
	KeepaliveRequests uint64
	// MaxBody is the most bytes of a request body, 0 for no limit; more is refused with 413.
	MaxBody int64
	// MaxConns is the most client connections of one loop (65536); at the limit the loop stops accepting.
	MaxConns int
	// Logger takes what operators should see.
	Logger *slog.Logger

	wrap func(netIO) netIO // for tests: faults between the loop and the operating system
}

func (c *Config) around(io netIO) netIO {
	if c.wrap == nil {
		return io
	}
	return c.wrap(io)
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.HeaderTimeout, 10*time.Second)
	def(&c.BodyTimeout, 30*time.Second)
	def(&c.WriteTimeout, 30*time.Second)
	def(&c.IdleTimeout, 75*time.Second)
	def(&c.HalfCloseGrace, time.Second)
	if c.KeepaliveRequests == 0 {
		c.KeepaliveRequests = 1000
	}
	if c.MaxConns <= 0 {
		c.MaxConns = 65536
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Stats are counters of one loop, readable from any goroutine.
type Stats struct {
	// Accepted and Requests only grow. Conns and Busy are the open client connections and those with a request under way. UpstreamConns counts open connections to upstreams.
	Accepted, Requests         atomic.Uint64
	Conns, Busy, UpstreamConns atomic.Int64
	// Malformed counts refused request heads and bodies, Aborted clients that went away, Cut responses that could not be finished.
	Malformed, Aborted, Cut atomic.Uint64
}

// Loop is one event loop. Everything in it belongs to the goroutine that runs it, except what is said otherwise.
type Loop struct {
	id     int
	conf   Config
	engine *engine.Engine
	io     netIO
	Stats  Stats

	now   int64     // plugin.Clock at the last wake-up
	wall  time.Time // the same moment
	date  []byte    // Date value of dateSec
	dsec  int64
	slots []slot
	idle  []uint32 // free slots

	bufs   buffers
	rbuf   []byte // one read of body bytes
	wbuf   []byte // one write being put together
	freeC  []*conn
	freeU  []*upConn
	freeX  []*exchange
	deadC  []*conn // closed during this wake-up: callers may still look at them
	deadU  []*upConn
	timers timers
	again  []uint32 // slots that stopped for fairness and have more to do

	pools map[poolKey]*pool

	listeners []listener
	paused    bool  // not accepting: too many connections or descriptors
	retry     timer // accepts again after a lack of descriptors
	draining  bool
	nextConn  *atomic.Uint64

	mu     sync.Mutex
	posts  []post // from other goroutines
	ended  bool   // nobody takes posts any more
	blocks sync.WaitGroup
}

type slot struct {
	gen    uint32
	client *conn
	up     *upConn
	listen int // index + 1 in listeners
}

type listener struct {
	file *os.File
	fd   int
	slot uint32
}

// post is work that another goroutine hands to the loop.
type post struct {
	resume *exchange
	call   func()
}

// rbufSize is one read of body bytes; l7 measurements found no gain above it.
const rbufSize = 64 << 10

func newLoop(id int, conf Config, e *engine.Engine, io netIO, seq *atomic.Uint64) *Loop {
	l := &Loop{id: id, conf: conf.withDefaults(), engine: e, io: io, nextConn: seq,
		rbuf: make([]byte, rbufSize), wbuf: make([]byte, 0, 16<<10), pools: map[poolKey]*pool{}}
	l.tick()
	return l
}

// tick reads the clock, once for each wake-up.
func (l *Loop) tick() {
	l.wall = time.Now()
	l.now = plugin.ClockAt(l.wall)
	if s := l.wall.Unix(); s != l.dsec {
		l.dsec = s
		l.date = l.wall.UTC().AppendFormat(l.date[:0], "Mon, 02 Jan 2006 15:04:05 GMT")
	}
}

// newSlot registers fd and returns its slot; the caller fills in who owns it.
func (l *Loop) newSlot(fd int, listener bool) (uint32, error) {
	var i uint32
	if n := len(l.idle); n > 0 {
		i = l.idle[n-1]
		l.idle = l.idle[:n-1]
	} else {
		l.slots = append(l.slots, slot{})
		i = uint32(len(l.slots) - 1)
	}
	if err := l.io.add(fd, uint64(l.slots[i].gen)<<32|uint64(i), listener); err != nil {
		l.idle = append(l.idle, i)
		return 0, err
	}
	return i, nil
}

// freeSlot makes events that are still under way for the slot's descriptor void.
func (l *Loop) freeSlot(i uint32) {
	s := &l.slots[i]
	gen := s.gen + 1
	if gen == 1<<32-1 {
		gen = 0 // wakeToken must stay unique
	}
	*s = slot{gen: gen}
	l.idle = append(l.idle, i)
}

// spin is how long the loop waits without telling the scheduler. It is also the most that a stop-the-world phase of the garbage collector can be held up.
const spin = time.Millisecond

// spins is how many such waits in a row may be empty before the loop tells the scheduler that it blocks. A loop is one goroutine that never yields, so Go's monitor
// takes the processor away from it in any ordinary system call that it catches, and then polls every 20 us for a while; a loop with short pauses would pay 7 % of
// its CPU for that.
const spins = 10

// run serves until the loop has been stopped and its connections are gone, or ctx ends.
func (l *Loop) run(ctx context.Context) error {
	var events [256]event
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { l.io.wake(); close(woken) })
	defer func() {
		if !stop() {
			<-woken // the descriptor of wake must not be closed under it
		}
		l.closeAll()
	}()
	empty := 0 // waits in a row that nothing came of
	for ctx.Err() == nil {
		timeout, due := time.Duration(-1), false
		if len(l.again) > 0 {
			timeout, due = 0, true
		} else if next := l.timers.next(); next != 0 {
			timeout = max(time.Duration(next-l.now), 0)
		}
		n, err := 0, error(nil)
		switch {
		case due:
			n, err = l.io.wait(events[:], 0, true)
		case empty < spins:
			first := spin
			if timeout >= 0 && timeout < first {
				first = timeout
			}
			n, err = l.io.wait(events[:], first, true)
		default:
			n, err = l.io.wait(events[:], timeout, false)
		}
		if err != nil {
			return fmt.Errorf("loop %d: %w", l.id, err)
		}
		if empty++; n > 0 || due {
			empty = 0
		}
		l.tick()
		for i := range events[:n] {
			l.dispatch(&events[i])
		}
		l.continueAgain()
		l.expire()
		l.bury()
		if l.draining && l.done() {
			break
		}
	}
	return nil
}

func (l *Loop) dispatch(ev *event) {
	if ev.token == wakeToken {
		l.io.woken()
		l.takePosts()
		return
	}
	i, gen := uint32(ev.token), uint32(ev.token>>32)
	if int(i) >= len(l.slots) || l.slots[i].gen != gen {
		return
	}
	s := &l.slots[i]
	switch {
	case s.client != nil:
		l.onClient(s.client, ev)
	case s.up != nil:
		l.onUpstream(s.up, ev)
	case s.listen > 0:
		l.onListener(s.listen - 1)
	}
}

// continueAgain goes on with those that gave way to others.
func (l *Loop) continueAgain() {
	n := len(l.again)
	for k := 0; k < n; k++ {
		s := &l.slots[l.again[k]]
		switch {
		case s.client != nil:
			l.resumeClient(s.client)
		case s.up != nil && s.up.x != nil && s.up.x.headSent:
			l.pumpResponse(s.up.x)
		}
	}
	l.again = l.again[:copy(l.again, l.again[n:])]
}

// bury makes closed connections reusable once nobody can hold them any more.
func (l *Loop) bury() {
	if len(l.deadC) > 0 {
		l.freeC = append(l.freeC, l.deadC[:min(len(l.deadC), maxFree-min(len(l.freeC), maxFree))]...)
		clear(l.deadC)
		l.deadC = l.deadC[:0]
		l.resumeAccept()
	}
	if len(l.deadU) > 0 {
		l.freeU = append(l.freeU, l.deadU[:min(len(l.deadU), maxFree-min(len(l.freeU), maxFree))]...)
		clear(l.deadU)
		l.deadU = l.deadU[:0]
	}
}

func (l *Loop) expire() {
	for {
		t := l.timers.expired(l.now)
		if t == nil {
			return
		}
		switch {
		case t.client != nil:
			l.onClientTimer(t.client)
		case t.up != nil:
			l.onUpstreamTimer(t.up)
		default:
			l.resumeAccept()
		}
	}
}

// post hands work to the loop from another goroutine.
func (l *Loop) post(p post) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.posts = append(l.posts, p)
	if len(l.posts) == 1 && !l.ended {
		l.io.wake()
	}
}

func (l *Loop) takePosts() {
	l.mu.Lock()
	posts := l.posts
	l.posts = nil
	l.mu.Unlock()
	for _, p := range posts {
		if p.call != nil {
			p.call()
		} else {
			l.resumeBlocked(p.resume)
		}
	}
}

// addListener is called on the loop's goroutine or before it runs. The loop takes file over.
func (l *Loop) addListener(file *os.File, fd int) error {
	i, err := l.newSlot(fd, true)
	if err != nil {
		return fmt.Errorf("register listener: %w", err)
	}
	l.listeners = append(l.listeners, listener{file: file, fd: fd, slot: i})
	l.slots[i].listen = len(l.listeners)
	return nil
}

// acceptBatch is how many connections one event accepts, so that a flood of them does not starve the others.
const acceptBatch = 64

func (l *Loop) onListener(k int) { l.accept(k, acceptBatch) }

func (l *Loop) accept(k, most int) {
	for n := 0; n < most; n++ {
		if int(l.Stats.Conns.Load()) >= l.conf.MaxConns {
			l.pauseAccept()
			return
		}
		fd, peer, errno := l.io.accept(l.listeners[k].fd)
		switch errno {
		case 0:
			l.newConn(fd, peer)
		case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM:
			l.conf.Logger.Warn("accept failed, waiting for connections to end", "err", errno, "loop", l.id)
			l.pauseAccept()
			// It may be something else in this process that gives descriptors back.
			l.timers.set(&l.retry, l.now+int64(acceptRetry))
			return
		case syscall.ECONNABORTED, syscall.EINTR, syscall.EPROTO:
		default:
			return
		}
	}
}

// acceptRetry is how long the loop waits for descriptors when none of its own connections ends.
const acceptRetry = 100 * time.Millisecond

// pauseAccept takes the listeners out of epoll: level-triggered events would come without end.
func (l *Loop) pauseAccept() {
	if l.paused {
		return
	}
	l.paused = true
	for i := range l.listeners {
		l.io.remove(l.listeners[i].fd)
	}
}

// resumeAccept is called when a connection ended or the time of acceptRetry is over.
func (l *Loop) resumeAccept() {
	if !l.paused || l.draining {
		return
	}
	l.paused = false
	l.timers.clear(&l.retry)
	for i := range l.listeners {
		s := l.listeners[i].slot
		if err := l.io.add(l.listeners[i].fd, uint64(l.slots[s].gen)<<32|uint64(s), true); err != nil && err != syscall.EEXIST {
			l.conf.Logger.Error("register listener failed, will try again", "err", err, "loop", l.id)
			l.paused = true
			l.timers.set(&l.retry, l.now+int64(acceptRetry))
		}
	}
}

// drainGrace is how long a connection that has not sent a request yet may still send one when the loop drains.
const drainGrace = time.Second

// drain stops accepting and ends idle connections; busy ones end after their response. Clients that the kernel has already let in are served. It runs on the loop's goroutine.
func (l *Loop) drain() {
	if l.draining {
		return
	}
	for i := range l.listeners {
		l.accept(i, l.conf.MaxConns)
		if !l.paused {
			l.io.remove(l.listeners[i].fd)
		}
		l.freeSlot(l.listeners[i].slot)
		l.listeners[i].file.Close()
	}
	l.listeners, l.draining = nil, true
	for i := range l.slots {
		c := l.slots[i].client
		switch {
		case c == nil || c.state != stateHead || c.x != nil:
		case c.requests == 0:
			l.timers.set(&c.timer, l.now+int64(min(drainGrace, l.conf.HeaderTimeout)))
		case l.quiet(c):
			l.closeClient(c)
		}
	}
	for _, p := range l.pools {
		for len(p.idle) > 0 {
			l.closeUpstream(p.idle[len(p.idle)-1])
		}
	}
}

func (l *Loop) done() bool { return l.Stats.Conns.Load() == 0 }

// closeAll ends whatever is left, when the time for draining is over.
func (l *Loop) closeAll() {
	for i := range l.listeners {
		l.listeners[i].file.Close()
	}
	for i := range l.slots {
		if c := l.slots[i].client; c != nil {
			if x := c.x; x != nil && x.blocked {
				x.cancel()
			}
			l.abort(c)
		}
	}
	l.blocks.Wait()
	l.takePosts()
	for i := range l.slots {
		if u := l.slots[i].up; u != nil {
			l.closeUpstream(u)
		}
	}
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.io.destroy()
}
