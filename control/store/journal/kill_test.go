package journal

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/store"
)

// The test binary starts itself as another process that has the store open; these say what it does there.
const (
	childEnv    = "JOURNAL_TEST_CHILD"
	childDirEnv = "JOURNAL_TEST_DIR"
)

func TestMain(m *testing.M) {
	if mode := os.Getenv(childEnv); mode != "" {
		if err := child(mode, os.Getenv(childDirEnv)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// startChild returns its output and its input, which it reads until the end if mode is "hold".
func startChild(t *testing.T, mode, dir string) (cmd *exec.Cmd, out *bufio.Reader, in io.Closer) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+mode, childDirEnv+"="+dir)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewReader(stdout), stdin
}

func child(mode, dir string) error {
	s, err := Open(dir, Options{CompactAt: 32 << 10})
	if err != nil {
		return err
	}
	defer s.Close()
	if mode == "hold" {
		fmt.Println("open")
		_, err := io.Copy(io.Discard, os.Stdin)
		return err
	}
	return writeForever(s)
}

const (
	killWriters = 16
	killSlots   = 20
)

func slotKey(kind string, w, n int) model.Key {
	return model.Key{Kind: model.Kind(kind), ID: fmt.Sprintf("%d-%d", w, n%killSlots)}
}

// writeForever has each writer count upwards, each number going to two objects in one transaction, and prints each
// acknowledged number.
func writeForever(s *Store) error {
	var mu sync.Mutex
	var wg sync.WaitGroup
	errs := make(chan error, killWriters)
	for w := range killWriters {
		wg.Go(func() {
			start := 0
			for n := range killSlots {
				if o, err := s.Get(context.Background(), slotKey("routes", w, n)); err == nil {
					v, _ := strconv.Atoi(string(o.Value))
					start = max(start, v)
				}
			}
			for n := start + 1; ; n++ {
				v := json.RawMessage(strconv.Itoa(n))
				_, _, err := s.Txn(context.Background(), []store.Op{
					{Key: slotKey("routes", w, n), Value: v}, {Key: slotKey("services", w, n), Value: v},
				})
				if err != nil {
					errs <- err
					return
				}
				mu.Lock()
				fmt.Printf("%d %d\n", w, n)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return <-errs
}

// TestKill kills a process that writes, 20 times over one directory, and checks every write it had acknowledged.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	acked := map[model.Key]int{}
	total := 0
	for round := range 20 {
		cmd, out, _ := startChild(t, "write", dir)
		after := 1 + random.IntN(600)
		lines := 0
		for {
			line, err := out.ReadString('\n')
			if err != nil {
				break // a line without its end was not printed whole
			}
			var w, n int
			if _, err := fmt.Sscanf(line, "%d %d\n", &w, &n); err != nil {
				t.Fatalf("child printed %q", line)
			}
			acked[slotKey("routes", w, n)] = n
			acked[slotKey("services", w, n)] = n
			if lines++; lines == after {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		total += lines
		if err := cmd.Wait(); err == nil || lines < after {
			t.Fatalf("round %d: child ended by itself after %d lines: %v", round, lines, err)
		}
		s, err := Open(dir, Options{})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if r := s.Recovery(); len(r.Damaged) > 0 || r.LostObjects > 0 {
			t.Fatalf("round %d: %+v", round, r)
		}
		for k, n := range acked {
			o, err := s.Get(t.Context(), k)
			if err != nil {
				t.Fatalf("round %d: %s was acknowledged with %d: %v", round, k, n, err)
			}
			got, _ := strconv.Atoi(string(o.Value))
			if got < n {
				t.Fatalf("round %d: %s was acknowledged with %d and has %d", round, k, n, got)
			}
			// Both objects of a transaction or none.
			if other, err := s.Get(t.Context(), model.Key{Kind: "services", ID: k.ID}); err != nil || k.Kind == "routes" && other.Mod != o.Mod {
				t.Fatalf("round %d: %s is at revision %d, its twin at %d, %v", round, k, o.Mod, other.Mod, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d acknowledged transactions", total)
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	cmd, out, in := startChild(t, "hold", dir)
	if line, err := out.ReadString('\n'); line != "open\n" {
		t.Fatalf("child printed %q, %v", line, err)
	}
	_, err := Open(dir, Options{})
	var locked *LockedError
	if !errors.As(err, &locked) || locked.PID != cmd.Process.Pid || locked.Dir != dir {
		t.Errorf("got error %v, want one that names process %d and %s", err, cmd.Process.Pid, dir)
	}
	if want := strconv.Itoa(cmd.Process.Pid); !strings.Contains(fmt.Sprint(err), want) {
		t.Errorf("message %q does not name process %s", err, want)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, dir)
	// A second time in the same process is refused as well.
	if _, err := Open(dir, Options{}); !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Errorf("got error %v, want one that names this process", err)
	}
	s.Close()
	mustOpen(t, dir)
}
