package journal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// errCrash is what every operation returns once a memFS has crashed.
var errCrash = errors.New("crashed")

// memFS is a file system in memory that models what a power cut leaves: names are durable only after syncDir, content
// only after Sync. It counts its changing operations and calls before for each, whose error the operation returns
// instead of happening.
type memFS struct {
	mu      sync.Mutex
	names   map[string]*inode
	durable map[string]*inode
	ops     int
	before  func(n int, op string) error
}

type inode struct {
	data   []byte
	synced []byte
	// poisoned: a sync failed. As on Linux the pages count as clean from then on, so that later syncs succeed without
	// writing them.
	poisoned bool
}

func newMemFS() *memFS { return &memFS{names: map[string]*inode{}, durable: map[string]*inode{}} }

// step runs the hook. The caller holds no lock, so that a hook may block.
func (m *memFS) step(op string) error {
	m.mu.Lock()
	m.ops++
	n, before := m.ops, m.before
	m.mu.Unlock()
	if before == nil {
		return nil
	}
	return before(n, op)
}

func (m *memFS) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ops
}

func (m *memFS) readFile(name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.names[name]; f != nil {
		return bytes.Clone(f.data), nil
	}
	return nil, os.ErrNotExist
}

func (m *memFS) open(name string) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.names[name]; f != nil {
		return &memFile{m, f}, nil
	}
	return nil, os.ErrNotExist
}

func (m *memFS) create(name string) (file, error) {
	if err := m.step("create " + filepath.Base(name)); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names[name] != nil {
		return nil, os.ErrExist
	}
	f := &inode{}
	m.names[name] = f
	return &memFile{m, f}, nil
}

func (m *memFS) rename(from, to string) error {
	if err := m.step("rename"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.names[to] = m.names[from]
	delete(m.names, from)
	return nil
}

func (m *memFS) remove(name string) error {
	m.mu.Lock()
	exists := m.names[name] != nil
	m.mu.Unlock()
	if !exists {
		return os.ErrNotExist
	}
	if err := m.step("remove"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.names, name)
	return nil
}

func (m *memFS) syncDir(dir string) error {
	if err := m.step("syncDir"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.durable = map[string]*inode{}
	for name, f := range m.names {
		m.durable[name] = f
	}
	return nil
}

// list returns the names in the directory that begin with prefix.
func (m *memFS) list(prefix string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for name := range m.names {
		if strings.HasPrefix(filepath.Base(name), prefix) {
			out = append(out, filepath.Base(name))
		}
	}
	slices.Sort(out)
	return out
}

// A loss says what of the changes that were not synced a power cut takes.
type loss struct {
	name        string
	names, data bool // lost
	half        bool // half of the unsynced growth of each file is lost
}

var losses = []loss{
	{name: "process killed"},
	{name: "all lost", names: true, data: true},
	{name: "names lost", names: true},
	{name: "content lost", data: true},
	{name: "half of the content lost", half: true},
}

// after returns what is found after a power cut.
func (m *memFS) after(l loss) *memFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := newMemFS()
	names := m.names
	if l.names {
		names = m.durable
	}
	for name, f := range names {
		data := f.data
		switch {
		case l.data:
			data = f.synced
		case l.half && len(data) > len(f.synced):
			data = data[:(len(data)+len(f.synced))/2]
		}
		kept := &inode{data: bytes.Clone(data), synced: bytes.Clone(data)}
		out.names[name], out.durable[name] = kept, kept
	}
	return out
}

type memFile struct {
	fs *memFS
	f  *inode
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	err := f.fs.step("write")
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	// A write that fails has written a part.
	if err != nil {
		p = p[:len(p)/2]
	}
	f.f.data = append(f.f.data[:off:off], p...)
	return len(p), err
}

func (f *memFile) Truncate(size int64) error {
	if err := f.fs.step("truncate"); err != nil {
		return err
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.f.data = f.f.data[:size:size]
	return nil
}

func (f *memFile) Sync() error {
	err := f.fs.step("sync")
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err != nil {
		f.f.poisoned = true
		return err
	}
	if !f.f.poisoned {
		f.f.synced = bytes.Clone(f.f.data)
	}
	return nil
}

func (f *memFile) Close() error { return nil }
