package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/sluice-gateway/sluice/control/store"
)

// mountSmall mounts a tmpfs of 1 MiB.
func mountSmall(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting a small tmpfs needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m,mode=0700"); err != nil {
		t.Skipf("mount a small tmpfs (needs CAP_SYS_ADMIN): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

func mustOpen(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// putBytes writes a value of that many bytes.
func putBytes(t *testing.T, s store.Store, id, size int) error {
	t.Helper()
	v := json.RawMessage(`"` + strings.Repeat("x", size-2) + `"`)
	_, _, err := s.Txn(t.Context(), []store.Op{{Key: routeKey(id), Value: v}})
	return err
}

func TestDiskFull(t *testing.T) {
	mnt := mountSmall(t)
	ballast := filepath.Join(mnt, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 300<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(mnt, "data", "store")
	s := mustOpen(t, dir)
	n := 0
	for ; ; n++ {
		err := putBytes(t, s, n, 3000)
		if errors.Is(err, store.ErrNoSpace) {
			break
		}
		if err != nil || n > 1000 {
			t.Fatalf("write %d: %v", n, err)
		}
	}
	before := content(t, s)
	if len(before) != n {
		t.Fatalf("%d objects after %d writes", len(before), n)
	}
	_, rev, _ := s.All(t.Context())
	watch, err := s.Watch(t.Context(), rev)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := putBytes(t, s, 5000, 20_000); !errors.Is(err, store.ErrNoSpace) {
			t.Fatalf("on a full disk: got error %v, want ErrNoSpace", err)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, bad := split(data); len(bad) > 0 {
		t.Errorf("failed writes left %v of %d bytes", bad, len(data))
	}

	// It starts on the full disk, too.
	s.Close()
	s = mustOpen(t, dir)
	if diff := diffObjects(before, content(t, s)); diff != "" {
		t.Fatalf("opened on a full disk (-want +got):\n%s", diff)
	}
	if _, ok := <-watch; ok {
		t.Error("failed writes were watched")
	}
	if err := putBytes(t, s, 5000, 20_000); !errors.Is(err, store.ErrNoSpace) {
		t.Fatalf("on a full disk: got error %v, want ErrNoSpace", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := putBytes(t, s, 5000, 20_000); err != nil {
		t.Fatalf("with room again: %v", err)
	}
	after := content(t, s)
	s.Close()
	s = mustOpen(t, dir)
	if diff := diffObjects(after, content(t, s)); diff != "" {
		t.Fatalf("after all (-want +got):\n%s", diff)
	}
	s.Close()
}

// TestDiskFullOfOldValues: what is dead in the journal makes room when the disk is full, whatever its size.
func TestDiskFullOfOldValues(t *testing.T) {
	s := mustOpen(t, mountSmall(t))
	for n := range 30 {
		if err := putBytes(t, s, 1, 300<<10); err != nil {
			t.Fatalf("write %d: %v", n, err)
		}
		if _, _, err := s.Txn(t.Context(), []store.Op{{Key: routeKey(1)}}); err != nil {
			t.Fatalf("delete %d: %v", n, err)
		}
	}
	s.Close()
}

func TestReadOnly(t *testing.T) {
	mnt := mountSmall(t)
	s := mustOpen(t, filepath.Join(mnt, "store"))
	if err := putBytes(t, s, 1, 10); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := syscall.Mount("", mnt, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{filepath.Join(mnt, "store"), filepath.Join(mnt, "new", "store")} {
		if _, err := Open(dir, Options{}); !errors.Is(err, store.ErrReadOnly) || !strings.Contains(err.Error(), dir) {
			t.Errorf("Open %s: got error %v, want ErrReadOnly and the path", dir, err)
		}
	}
}

func TestNoPermission(t *testing.T) {
	parent := t.TempDir()
	if err := os.Chmod(parent, 0o500); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		// Root may write everywhere. Another file system user id takes that away from this thread alone, see
		// setfsuid(2) and capabilities(7).
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := os.Chown(parent, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Setfsuid(65534); err != nil {
			t.Fatal(err)
		}
		defer syscall.Setfsuid(0)
	}
	dir := filepath.Join(parent, "store")
	if _, err := Open(dir, Options{}); !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), dir) {
		t.Errorf("got error %v, want a permission error and the path", err)
	}
}

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "store")
	s := mustOpen(t, dir)
	if err := putBytes(t, s, 1, 10); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{
		"..": os.ModeDir | 0o700, ".": os.ModeDir | 0o700, "journal": 0o600, "lock": 0o600,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
}

// TestDamageNotSaved: if the damaged part cannot be put aside, nothing is touched.
func TestDamageNotSaved(t *testing.T) {
	sm := makeSample(t)
	damaged := bytes.Clone(sm.data)
	damaged[sm.ends[4]-5] ^= 1
	fs := newMemFS()
	fs.names["/store/journal"] = &inode{data: bytes.Clone(damaged)}
	fs.hook(func(_ int, op string) error {
		if op == "write" {
			return syscall.ENOSPC
		}
		return nil
	})
	_, err := open(fs, "/store", Options{})
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(fmt.Sprint(err), "left as it is") {
		t.Errorf("got error %v", err)
	}
	if names := fs.list("journal"); len(names) != 1 || !bytes.Equal(fs.names["/store/journal"].data, damaged) {
		t.Errorf("files are %v", names)
	}
}

// TestRemovedWhileOpen tests that nothing is acknowledged that only a file without a name holds.
func TestRemovedWhileOpen(t *testing.T) {
	values := func(t *testing.T, dir string) int {
		t.Helper()
		s := mustOpen(t, dir)
		defer s.Close()
		return len(content(t, s))
	}
	t.Run("the file", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "store")
		s := mustOpen(t, dir)
		for i := range 3 {
			if err := putBytes(t, s, i, 100); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Remove(filepath.Join(dir, "journal")); err != nil {
			t.Fatal(err)
		}
		if err := putBytes(t, s, 3, 100); err != nil {
			t.Fatalf("the store could have been written again: %v", err)
		}
		s.Close()
		if n := values(t, dir); n != 4 {
			t.Errorf("%d of 4 objects are there after a restart", n)
		}
	})
	t.Run("the directory", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "store")
		s := mustOpen(t, dir)
		if err := putBytes(t, s, 1, 100); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		err := putBytes(t, s, 2, 100)
		if err == nil || !strings.Contains(err.Error(), "removed while the gateway ran") || !strings.Contains(err.Error(), "no such file") {
			t.Fatalf("got %v, want an error that tells what happened", err)
		}
		if n := len(content(t, s)); n != 1 {
			t.Errorf("%d objects are read, want the acknowledged one", n)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := putBytes(t, s, 3, 100); err != nil {
			t.Fatalf("the directory is back: %v", err)
		}
		s.Close()
		if n := values(t, dir); n != 2 {
			t.Errorf("%d of 2 objects are there after a restart", n)
		}
	})
	t.Run("another file", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "store")
		s := mustOpen(t, dir)
		if err := putBytes(t, s, 1, 100); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "journal")
		backup, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, backup, 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := putBytes(t, s, 2, 100); err == nil || !strings.Contains(err.Error(), "another file took the place") {
				t.Fatalf("got %v, want an error that tells what happened", err)
			}
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, backup) {
			t.Errorf("the file in its place was written to (%v)", err)
		}
	})
}
