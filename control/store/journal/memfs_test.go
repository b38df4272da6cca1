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
	ops     []string
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

// hook sets before.
func (m *memFS) hook(before func(n int, op string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.before = before
}

// step runs the hook. The caller holds no lock, so that a hook may block.
func (m *memFS) step(op string) error {
	m.mu.Lock()
	m.ops = append(m.ops, op)
	n, before := len(m.ops), m.before
	m.mu.Unlock()
	if before == nil {
		return nil
	}
	return before(n, op)
}

func (m *memFS) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.ops)
}

// op names operation n, counted from 1, if there was one.
func (m *memFS) op(n int) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n > len(m.ops) {
		return "none"
	}
	return m.ops[n-1]
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

func (m *memFS) holds(name string, f file) (holder, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch m.names[name] {
	case f.(*memFile).f:
		return holdsFile, nil
	case nil:
		return holdsNothing, nil
	}
	return holdsOther, nil
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
	kill        bool // no power cut
	names, data bool // lost
	half        bool // half of the unsynced growth of each file is lost
}

var losses = []loss{
	{name: "process killed", kill: true},
	{name: "nothing lost"},
	{name: "all lost", names: true, data: true},
	{name: "names lost", names: true},
	{name: "content lost", data: true},
	{name: "half of the content lost", half: true},
}

// after returns what is found after a power cut, or after the process was killed: then nothing is lost yet, but what
// was not durable is not so now.
func (m *memFS) after(l loss) *memFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := newMemFS()
	copies := map[*inode]*inode{}
	keep := func(f *inode) *inode {
		if copies[f] == nil {
			c := &inode{data: bytes.Clone(f.data), synced: bytes.Clone(f.synced)}
			switch {
			case l.data:
				c.data = c.synced
			case l.half && len(c.data) > len(c.synced):
				c.data = c.data[:(len(c.data)+len(c.synced))/2]
			}
			if !l.kill {
				c.synced = c.data
			}
			copies[f] = c
		}
		return copies[f]
	}
	names := m.names
	if l.names {
		names = m.durable
	}
	for name, f := range names {
		out.names[name] = keep(f)
	}
	durable := names
	if l.kill {
		durable = m.durable
	}
	for name, f := range durable {
		out.durable[name] = keep(f)
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
