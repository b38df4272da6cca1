package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/control/config"
)

// newLogger makes the gateway's log. Lines wait in memory for a writer, so that whoever does not read them never holds up traffic; close
// writes what is left, within a second.
func newLogger(e *env, c config.Log) (logger *slog.Logger, closeLog func()) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo
	}
	w := newLogWriter(e.Stderr, 1<<20)
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o)), w.close
	}
	return slog.New(slog.NewTextHandler(w, o)), w.close
}

// logWriter hands lines to out in a goroutine of its own. When limit bytes wait for it, further lines are dropped and counted.
type logWriter struct {
	out   io.Writer
	limit int

	mu      sync.Mutex
	buf     []byte
	dropped int
	closed  bool

	wake chan struct{}
	done chan struct{}
}

func newLogWriter(out io.Writer, limit int) *logWriter {
	w := &logWriter{out: out, limit: limit, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go w.run()
	return w
}

// Write takes one line. It never blocks on out and never fails; after close it writes directly.
func (w *logWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
		_, _ = w.out.Write(line)
		return len(line), nil
	case len(w.buf)+len(line) > w.limit:
		w.dropped++
		return len(line), nil
	}
	w.buf = append(w.buf, line...)
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return len(line), nil
}

func (w *logWriter) run() {
	defer close(w.done)
	var spare []byte
	for range w.wake {
		w.mu.Lock()
		lines, dropped, closed := w.buf, w.dropped, w.closed
		w.buf, w.dropped = spare[:0], 0
		w.mu.Unlock()
		_, _ = w.out.Write(lines)
		if dropped > 0 {
			fmt.Fprintf(w.out, "sluice: %d log lines were dropped: they came faster than they were read\n", dropped)
		}
		if closed {
			return
		}
		spare = lines
	}
}

func (w *logWriter) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
	select {
	case <-w.done:
	case <-time.After(time.Second):
	}
}

// Lines with one message that traffic may cause in a span of time.
const (
	linesPerSpan = 20
	lineSpan     = time.Second
)

// limitHandler lets linesPerSpan records with the same message through in each lineSpan and then says how many it held back. It is for
// records that requests cause, whose messages are constants.
type limitHandler struct {
	next slog.Handler
	seen *seenMessages
}

// seenMessages is what the handlers that came from one limitLines share.
type seenMessages struct {
	root slog.Handler

	mu   sync.Mutex
	list map[string]*seenMessage
}

// maxSeenMessages bounds the memory, in case a message is no constant after all.
const maxSeenMessages = 1000

type seenMessage struct {
	until          time.Time
	passed, queued int
}

func limitLines(l *slog.Logger) *slog.Logger {
	return slog.New(limitHandler{next: l.Handler(), seen: &seenMessages{root: l.Handler(), list: map[string]*seenMessage{}}})
}

func (h limitHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

func (h limitHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return limitHandler{h.next.WithAttrs(attrs), h.seen}
}

func (h limitHandler) WithGroup(name string) slog.Handler {
	return limitHandler{h.next.WithGroup(name), h.seen}
}

func (h limitHandler) Handle(ctx context.Context, r slog.Record) error {
	h.seen.mu.Lock()
	m := h.seen.list[r.Message]
	if m == nil {
		if len(h.seen.list) >= maxSeenMessages {
			clear(h.seen.list)
		}
		m = &seenMessage{}
		h.seen.list[r.Message] = m
	}
	if !r.Time.Before(m.until) && m.queued == 0 {
		m.until, m.passed = r.Time.Add(lineSpan), 0
	}
	m.passed++
	hold := m.passed > linesPerSpan
	if hold {
		if m.queued == 0 {
			time.AfterFunc(time.Until(m.until), func() { h.seen.report(r.Level, r.Message, m) })
		}
		m.queued++
	}
	h.seen.mu.Unlock()
	if hold {
		return nil
	}
	return h.next.Handle(ctx, r)
}

// report says how many records were held back and opens the next span.
func (s *seenMessages) report(level slog.Level, message string, m *seenMessage) {
	s.mu.Lock()
	n := m.queued
	m.queued, m.passed, m.until = 0, 0, time.Now().Add(lineSpan)
	s.mu.Unlock()
	r := slog.NewRecord(time.Now(), level, message, 0)
	r.AddAttrs(slog.Int("suppressed", n))
	_ = s.root.Handle(context.Background(), r)
}
