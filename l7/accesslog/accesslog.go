// Package accesslog writes one line for each request, in a format with nginx's and APISIX's variables.
//
// An event loop formats the line into the buffer of its shard and never touches the disk: a full buffer, or one that is older than the flush
// interval, is handed to the one goroutine that writes. When that falls behind (a full or slow disk), lines are dropped and counted, and
// traffic goes on.
package accesslog

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

// Options configure a Log. The zero value of a field means its default.
type Options struct {
	// Path is a file, which is appended to, or "-" for standard output.
	Path string
	// Format is the line with $variables, without a newline at its end. Escape is default, json or none, as in nginx's log_format.
	Format, Escape string
	// BufferBytes is when a buffer is written, default 32 KiB; FlushInterval is the longest that a line waits, default 3 s.
	BufferBytes   int
	FlushInterval time.Duration
	Logger        *slog.Logger
}

// Log is an open access log. Its methods are safe for concurrent use.
type Log struct {
	o      Options
	format *format
	out    io.WriteCloser // the writer goroutine's

	shards  atomic.Pointer[[]*shard]
	grow    sync.Mutex
	full    chan []byte
	free    chan []byte
	reopen  chan chan error
	stop    chan struct{}
	done    chan struct{}
	dropped atomic.Uint64
	failed  time.Time // when a write error was last logged
}

// shard is the buffer of one event loop. Its lock is contended only when the buffer is flushed by age.
type shard struct {
	mu  sync.Mutex
	buf []byte
}

// queued bounds the buffers that wait for the writer.
const queued = 64

// New opens the log. The errors name the path or the variable.
func New(o Options) (*Log, error) {
	if o.BufferBytes <= 0 {
		o.BufferBytes = 32 << 10
	}
	if o.FlushInterval <= 0 {
		o.FlushInterval = 3 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	f, err := compileFormat(o.Format, o.Escape)
	if err != nil {
		return nil, err
	}
	out, err := openFile(o.Path)
	if err != nil {
		return nil, err
	}
	return start(o, f, out), nil
}

func openFile(path string) (io.WriteCloser, error) {
	if path == "-" {
		return nopCloser{os.Stdout}, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("open access log: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open access log: %w", err)
	}
	return f, nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func start(o Options, f *format, out io.WriteCloser) *Log {
	l := &Log{o: o, format: f, out: out, full: make(chan []byte, queued), free: make(chan []byte, queued),
		reopen: make(chan chan error), stop: make(chan struct{}), done: make(chan struct{})}
	l.shards.Store(&[]*shard{})
	go l.write()
	return l
}

// shard returns the buffer of a loop, made the first time.
func (l *Log) shard(n int) *shard {
	if s := *l.shards.Load(); n < len(s) {
		return s[n]
	}
	l.grow.Lock()
	defer l.grow.Unlock()
	s := append([]*shard(nil), *l.shards.Load()...)
	for len(s) <= n {
		s = append(s, &shard{buf: make([]byte, 0, l.o.BufferBytes+4096)})
	}
	l.shards.Store(&s)
	return s[n]
}

// Write logs an exchange. n is the number of the event loop that calls.
func (l *Log) Write(n int, ex *plugin.Exchange) {
	s := l.shard(n)
	s.mu.Lock()
	s.buf = l.format.append(s.buf, ex)
	s.buf = append(s.buf, '\n')
	if len(s.buf) >= l.o.BufferBytes {
		l.hand(s)
	}
	s.mu.Unlock()
}

// hand gives the shard's buffer to the writer and takes an empty one; when the writer is behind, the lines are lost.
func (l *Log) hand(s *shard) {
	var fresh []byte
	select {
	case fresh = <-l.free:
	default:
		fresh = make([]byte, 0, l.o.BufferBytes+4096)
	}
	select {
	case l.full <- s.buf:
		s.buf = fresh
	default:
		l.drop(s.buf)
		s.buf = s.buf[:0]
		l.recycle(fresh)
	}
}

func (l *Log) drop(lines []byte) {
	for _, c := range lines {
		if c == '\n' {
			l.dropped.Add(1)
		}
	}
}

func (l *Log) recycle(b []byte) {
	select {
	case l.free <- b[:0]:
	default:
	}
}

// Dropped counts the lines that were lost.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Reopen closes the file and opens the path again, after it was renamed for rotation.
func (l *Log) Reopen() error {
	answer := make(chan error, 1)
	select {
	case l.reopen <- answer:
		return <-answer
	case <-l.done:
		return os.ErrClosed
	}
}

// Close writes what is buffered and closes the file.
func (l *Log) Close() error {
	close(l.stop)
	<-l.done
	return l.out.Close()
}

// write is the writer's goroutine.
func (l *Log) write() {
	defer close(l.done)
	tick := time.NewTicker(l.o.FlushInterval)
	defer tick.Stop()
	for {
		select {
		case b := <-l.full:
			l.flush(b)
		case <-tick.C:
			l.flushAged()
		case answer := <-l.reopen:
			answer <- l.swap()
		case <-l.stop:
			for {
				select {
				case b := <-l.full:
					l.flush(b)
					continue
				default:
				}
				break
			}
			l.flushAged()
			return
		}
	}
}

func (l *Log) swap() error {
	out, err := openFile(l.o.Path)
	if err != nil {
		return err
	}
	old := l.out
	l.out = out
	return old.Close()
}

// flushAged writes what the shards hold.
func (l *Log) flushAged() {
	for _, s := range *l.shards.Load() {
		var fresh []byte
		select {
		case fresh = <-l.free:
		default:
			fresh = make([]byte, 0, l.o.BufferBytes+4096)
		}
		s.mu.Lock()
		b := s.buf
		if len(b) > 0 {
			s.buf = fresh
		}
		s.mu.Unlock()
		if len(b) > 0 {
			l.flush(b)
		} else {
			l.recycle(fresh)
		}
	}
}

// errorInterval is how often a disk that takes no lines is reported.
const errorInterval = 10 * time.Second

func (l *Log) flush(b []byte) {
	if _, err := l.out.Write(b); err != nil {
		l.drop(b)
		if now := time.Now(); now.Sub(l.failed) >= errorInterval {
			l.failed = now
			l.o.Logger.Error("write access log failed, lines are lost", "path", l.o.Path, "dropped", l.dropped.Load(), "err", err)
		}
	}
	l.recycle(b)
}
