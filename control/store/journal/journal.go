package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/sluice-gateway/sluice/control/store"
)

// defaultCompactAt is the size in bytes from which a journal is rewritten if most of it is dead.
const defaultCompactAt = 4 << 20

// Options of a store. The zero value is ready to use.
type Options struct {
	// Logger gets what happens outside of calls: repairs, failed rewrites. Default: none.
	Logger *slog.Logger
	// CompactAt is the size in bytes below which the journal is never rewritten to make it smaller. Default: 4 MiB.
	CompactAt int64
}

// Store is a store.Store in a directory.
type Store struct {
	*store.Hub
	recovery Recovery
	unlock   func() error
}

var _ store.Store = (*Store)(nil)

// Open opens the store in dir and makes it if there is none. It fails with a *LockedError if another process has it
// open, with store.ErrReadOnly on a read-only file system, and if the journal cannot be read at all; see the package
// comment for what it repairs.
func Open(dir string, opts Options) (*Store, error) {
	fs := disk{}
	if err := makeDir(fs, dir); err != nil {
		return nil, fmt.Errorf("make store directory %s: %w", dir, classify(err))
	}
	l, err := lock(dir, filepath.Join(dir, "lock"))
	if err != nil {
		var locked *LockedError
		if errors.As(err, &locked) {
			return nil, err
		}
		return nil, fmt.Errorf("open store %s: %w", dir, classify(err))
	}
	s, err := open(fs, dir, opts)
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("open store %s: %w", dir, classify(err))
	}
	s.unlock = l.Close
	return s, nil
}

// Recovery tells what Open had to repair.
func (s *Store) Recovery() Recovery { return s.recovery }

// Close implements store.Store and releases the directory.
func (s *Store) Close() error {
	err := s.Hub.Close()
	if uerr := s.unlock(); uerr != nil && !errors.Is(uerr, os.ErrClosed) {
		err = errors.Join(err, uerr)
	}
	return err
}

// open reads, repairs and starts the store; the caller holds the lock.
func open(fs filesystem, dir string, opts Options) (*Store, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.CompactAt == 0 {
		opts.CompactAt = defaultCompactAt
	}
	l := &log{fs: fs, dir: dir, logger: opts.Logger, compactAt: opts.CompactAt, tidyAt: opts.CompactAt}
	data, err := fs.readFile(l.path())
	fresh := errors.Is(err, os.ErrNotExist)
	if err != nil && !fresh {
		return nil, err
	}
	img, err := load(data)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", l.path(), err)
	}
	if err := fs.remove(l.path() + ".new"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	rec := &img.recovery
	if len(rec.Damaged) > 0 {
		if err := l.saveDamage(data, rec.Damaged); err != nil {
			return nil, fmt.Errorf("save the damaged part of %s, which is left as it is: %w", l.path(), err)
		}
	}
	if len(data) == 0 || len(rec.Damaged) > 0 || rec.LostObjects > 0 {
		if len(data) == 0 && !fresh {
			opts.Logger.Warn("store is an empty file, starting with an empty store", "path", l.path())
		}
		err = l.rewrite(img.state)
	} else {
		err = l.resume(len(data), rec.TornBytes)
	}
	if err != nil {
		if l.f != nil {
			l.f.Close()
		}
		return nil, err
	}
	report(opts.Logger, l.path(), *rec)
	return &Store{Hub: store.NewHub(img.state, l, opts.Logger), recovery: *rec, unlock: func() error { return nil }}, nil
}

// resume opens an intact file and cuts a torn end off. It syncs even if nothing is torn: a predecessor that
// was killed may have written a record, or renamed the file, and not synced that, and from now on readers see it.
func (l *log) resume(size, torn int) error {
	f, err := l.fs.open(l.path())
	if err != nil {
		return err
	}
	l.f, l.size = f, int64(size-torn)
	if torn > 0 {
		if err := f.Truncate(l.size); err != nil {
			return fmt.Errorf("cut %d bytes of an unfinished write off %s: %w", torn, l.path(), err)
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return l.fs.syncDir(l.dir)
}

// saveDamage copies the damaged parts into files of their own and fills in their paths.
func (l *log) saveDamage(data []byte, parts []Damage) error {
	for i := range parts {
		d := &parts[i]
		f, name, err := l.createAside(fmt.Sprintf("%s.corrupt-%d", l.path(), d.After))
		if err != nil {
			return err
		}
		d.File = name
		_, err = f.WriteAt(data[d.Offset:d.Offset+d.Bytes], 0)
		if err == nil {
			err = f.Sync()
		}
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			_ = l.fs.remove(name)
			return err
		}
	}
	return l.fs.syncDir(l.dir)
}

// createAside makes a file that does not exist yet, adding a number to the name if needed.
func (l *log) createAside(base string) (file, string, error) {
	name := base
	for n := 2; ; n++ {
		f, err := l.fs.create(name)
		if err == nil || !errors.Is(err, os.ErrExist) || n > 1000 {
			return f, name, err
		}
		name = fmt.Sprintf("%s-%d", base, n)
	}
}

func report(logger *slog.Logger, path string, r Recovery) {
	if r.TornBytes > 0 {
		logger.Warn("cut an unfinished write off the store, it was never acknowledged",
			"path", path, "offset", r.TornOffset, "bytes", r.TornBytes)
	}
	for _, d := range r.Damaged {
		logger.Error("store is damaged, writes are lost; the damaged part was moved aside",
			"path", path, "offset", d.Offset, "bytes", d.Bytes, "records", d.Records, "after_revision", d.After, "saved_as", d.File)
	}
	if r.LostObjects > 0 {
		logger.Error("store is damaged, objects are lost", "path", path, "objects", r.LostObjects)
	}
}
