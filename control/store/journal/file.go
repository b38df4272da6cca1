package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// filesystem is what the journal needs of one, so that tests can fail and crash it at every step.
type filesystem interface {
	readFile(name string) ([]byte, error)
	// open opens an existing file for writing.
	open(name string) (file, error)
	// create makes a new file with mode 0600; it is an error if it exists.
	create(name string) (file, error)
	rename(from, to string) error
	remove(name string) error
	// holds tells what the name stands for, seen from the open file f.
	holds(name string, f file) (holder, error)
	// syncDir makes the names in the directory durable.
	syncDir(name string) error
}

// holder is what a name stands for.
type holder uint8

const (
	holdsFile    holder = iota // the file in question
	holdsNothing               // the file was removed, so what is written to it is lost when it is closed
	holdsOther                 // another file took its place
)

// file is an open file for writing.
type file interface {
	WriteAt(p []byte, off int64) (int, error)
	Truncate(size int64) error
	// Sync makes the content and size durable.
	Sync() error
	Close() error
}

// disk is the filesystem of the operating system.
type disk struct{}

func (disk) readFile(name string) ([]byte, error) { return os.ReadFile(name) }
func (disk) rename(from, to string) error         { return os.Rename(from, to) }
func (disk) remove(name string) error             { return os.Remove(name) }

func (disk) open(name string) (file, error) {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	return diskFile{f}, err
}

func (disk) create(name string) (file, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	return diskFile{f}, err
}

func (disk) holds(name string, f file) (holder, error) {
	there, err := os.Stat(name)
	if errors.Is(err, os.ErrNotExist) {
		return holdsNothing, nil
	}
	if err != nil {
		return holdsNothing, err
	}
	mine, err := f.(diskFile).Stat()
	if err != nil {
		return holdsNothing, err
	}
	if os.SameFile(there, mine) {
		return holdsFile, nil
	}
	return holdsOther, nil
}

func (disk) syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// diskFile syncs with fdatasync: modification times are nothing to wait for.
type diskFile struct{ *os.File }

func (f diskFile) Sync() error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if !errors.Is(err, syscall.EINTR) {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

// makeDir makes a directory with mode 0700 and what leads to it, and makes the new names durable.
func makeDir(fs filesystem, dir string) error {
	var missing []string
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); err == nil {
			break
		} else if !errors.Is(err, os.ErrNotExist) {
			return err
		}
		missing = append(missing, d)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, d := range missing {
		if err := fs.syncDir(filepath.Dir(d)); err != nil {
			return fmt.Errorf("sync %s: %w", filepath.Dir(d), err)
		}
	}
	return nil
}
