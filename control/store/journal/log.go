package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"github.com/sluice-gateway/sluice/control/store"
)

// log is the file below a hub. It is used by one goroutine at a time.
type log struct {
	fs     filesystem
	dir    string
	logger *slog.Logger
	// compactAt is the size below which a file is never rewritten for being large.
	compactAt int64

	f    file
	size int64 // of the good records in f
	// broken means that what is in the file, or which file has its name, is not known for sure: it must be rewritten
	// before anything is acknowledged.
	broken bool
	// tidyAt is the size at which it is worth to see whether a rewrite pays.
	tidyAt int64
	buf    []byte
}

var _ store.Log = (*log)(nil)

func (l *log) path() string { return filepath.Join(l.dir, "journal") }

// Append implements store.Log.
func (l *log) Append(recs []store.Record, live func() store.State) error {
	buf := l.buf[:0]
	for _, rec := range recs {
		buf = appendRecord(buf, func(b []byte) []byte { return appendTxn(b, rec) })
	}
	// One huge transaction must not hold its memory for good.
	if l.buf = buf; cap(buf) > 1<<20 {
		l.buf = nil
	}
	if l.broken {
		if err := l.rewrite(live()); err != nil {
			return classify(fmt.Errorf("rewrite store after a failed write: %w", err))
		}
	}
	err := classify(l.write(buf))
	if errors.Is(err, errRemoved) {
		// Everything that was in the file is in memory too.
		if again := l.rewrite(live()); again != nil {
			err = fmt.Errorf("%w, and it cannot be written again: %w", err, again)
		} else {
			l.logger.Warn("store was removed, wrote it again", "path", l.path())
			err = classify(l.write(buf))
		}
	}
	if errors.Is(err, store.ErrNoSpace) {
		// Overwritten and deleted values may be what fills the disk.
		if state := live(); l.size > 2*imageSize(state) && l.rewrite(state) == nil {
			err = classify(l.write(buf))
		}
	}
	if err != nil {
		return fmt.Errorf("append to store: %w", err)
	}
	return nil
}

// write appends to the file and syncs it; if that fails it leaves the file as it was or marks it broken.
func (l *log) write(buf []byte) error {
	if _, err := l.f.WriteAt(buf, l.size); err != nil {
		if l.f.Truncate(l.size) != nil {
			l.broken = true
		}
		return err
	}
	if err := l.f.Sync(); err != nil {
		// After a failed sync pages may be clean and lost, so that the next sync succeeds although an earlier, even an
		// acknowledged, record in the same page is gone. See fsync(2) and "PostgreSQL's handling of fsync() errors is
		// unsafe" (2018).
		l.broken = true
		// Best effort: a crash before the rewrite should not bring the failed records back.
		_ = l.f.Truncate(l.size)
		return err
	}
	if err := l.stillThere(); err != nil {
		_ = l.f.Truncate(l.size)
		return err
	}
	l.size += int64(len(buf))
	return nil
}

var errRemoved = errors.New("the file was removed while the gateway ran")

// stillThere is an error when the file has lost its name: what is written to it is not there after a restart.
func (l *log) stillThere() error {
	held, err := l.fs.holds(l.path(), l.f)
	switch {
	case err != nil:
		return err
	case held == holdsNothing:
		return errRemoved
	case held == holdsOther:
		// It may be what an operator has restored; writing over it would be worse than writing nothing.
		return fmt.Errorf("another file took the place of %s while the gateway ran: restart to use it, or remove it to go on", l.path())
	}
	return nil
}

// Tidy implements store.Log.
func (l *log) Tidy(live func() store.State) {
	if l.size < l.tidyAt || l.broken {
		return
	}
	state := live()
	alive := imageSize(state)
	if l.size <= 2*alive {
		l.tidyAt = 2 * alive
		return
	}
	before := l.size
	if err := l.rewrite(state); err != nil {
		l.tidyAt = l.size + l.compactAt/4
		l.logger.Warn("rewrite store to make it smaller, will try again later", "path", l.path(), "bytes", before, "err", err)
		return
	}
	l.logger.Debug("rewrote store", "path", l.path(), "bytes_before", before, "bytes", l.size)
}

// Close implements store.Log.
func (l *log) Close() error { return l.f.Close() }

// rewrite replaces the file by one that holds just the state. If it fails before the new file has the name, the log
// goes on with the old one.
func (l *log) rewrite(state store.State) error {
	name := l.path() + ".new"
	if err := l.fs.remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := l.fs.create(name)
	if err != nil {
		return err
	}
	size, err := writeImage(f, state)
	if err == nil {
		err = l.fs.rename(name, l.path())
	}
	if err != nil {
		f.Close()
		_ = l.fs.remove(name)
		return err
	}
	if l.f != nil {
		// Nothing in the old file matters any more.
		_ = l.f.Close()
	}
	l.f, l.size = f, size
	l.tidyAt = max(l.compactAt, 2*size)
	// Until the directory is durable a crash may bring the old file back.
	err = l.fs.syncDir(l.dir)
	l.broken = err != nil
	return err
}

// writeChunk is how much of an image is written at once.
const writeChunk = 1 << 20

// writeImage writes a head and the objects and syncs the file.
func writeImage(f file, state store.State) (int64, error) {
	size := int64(0)
	buf := appendRecord(nil, func(b []byte) []byte {
		return appendHead(b, head{rev: state.Rev, objects: len(state.Items)})
	})
	for _, c := range state.Items {
		buf = appendRecord(buf, func(b []byte) []byte { return appendObject(b, c) })
		if len(buf) >= writeChunk {
			if _, err := f.WriteAt(buf, size); err != nil {
				return 0, err
			}
			size += int64(len(buf))
			buf = buf[:0]
		}
	}
	if _, err := f.WriteAt(buf, size); err != nil {
		return 0, err
	}
	return size + int64(len(buf)), f.Sync()
}

// recordOverhead is about what a record of one object takes besides key and value.
const recordOverhead = 90

// imageSize is about how large a file with just the state is.
func imageSize(state store.State) int64 {
	n := int64(0)
	for _, c := range state.Items {
		n += int64(len(c.Key.Kind) + len(c.Key.ID) + len(c.Object.Value) + recordOverhead)
	}
	return n
}

// classify adds the store's own errors to those of the operating system.
func classify(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %w", store.ErrNoSpace, err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: %w", store.ErrReadOnly, err)
	}
	return err
}
