package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseProcStat(t *testing.T) {
	const rest = " S 7 41 41 0 -1 4194560 100 0 0 0 123 456 9 8 20 0 3 0 100 1 2\n"
	want := procStat{pid: 42, ppid: 7, utime: 123, stime: 456}
	for _, tc := range []struct {
		name, line string
		fails      bool
	}{
		{name: "plain", line: "42 (nginx)" + rest},
		{name: "blanks in the name", line: "42 (nginx: worker)" + rest},
		{name: "parentheses in the name", line: "42 (a) R 1 (b)" + rest},
		{name: "empty", line: "", fails: true},
		{name: "no name", line: "42 nginx" + rest, fails: true},
		{name: "no pid", line: "(nginx)" + rest, fails: true},
		{name: "cut off", line: "42 (nginx) S 7 41", fails: true},
		{name: "not a number", line: strings.Replace("42 (nginx)"+rest, " 456 ", " x ", 1), fails: true},
		{name: "closing before opening", line: "42 )nginx( S 7", fails: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := parseProcStat(tc.line)
			if (err != nil) != tc.fails {
				t.Fatalf("error %v, want failure %v", err, tc.fails)
			}
			if err == nil {
				if diff := cmp.Diff(want, got, cmp.AllowUnexported(procStat{})); diff != "" {
					t.Errorf("process (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func FuzzParseProcStat(f *testing.F) {
	f.Add("42 (nginx: worker) S 7 41 41 0 -1 4194560 100 0 0 0 123 456 9 8 20")
	f.Add("42 (a) R 1 (b) S 7")
	f.Add(") (")
	f.Fuzz(func(t *testing.T, line string) {
		_, _ = parseProcStat(line)
	})
}

func TestDescendants(t *testing.T) {
	all := []procStat{{pid: 1}, {pid: 5, ppid: 1}, {pid: 9, ppid: 8}, {pid: 8, ppid: 5}, {pid: 6, ppid: 1}, {pid: 7, ppid: 6}}
	var pids []int
	for _, st := range descendants(all, 5) {
		pids = append(pids, st.pid)
	}
	if diff := cmp.Diff([]int{5, 8, 9}, pids); diff != "" {
		t.Errorf("tree of 5 (-want +got):\n%s", diff)
	}
	if got := descendants(all, 99); got != nil {
		t.Errorf("tree of a process that is gone: %v", got)
	}
}

func TestTreeCPUGrows(t *testing.T) {
	before, err := treeCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	after := before
	for after.sub(before).total < 20*time.Millisecond {
		if after, err = treeCPU(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
	// The nanosecond clock and the ticks of /proc tell the same time, ticks rounded down per process and kind.
	if ticks := after.user + after.system; after.total < ticks-50*time.Millisecond || after.total > ticks+100*time.Millisecond {
		t.Errorf("CPU clock says %s, /proc says %s", after.total, ticks)
	}
}

func TestParseCoreBusy(t *testing.T) {
	const stat = "cpu  10 10 10 10 10 10 10 10 10 10\n" +
		"cpu0 100 1 200 9999 50 3 4 5 7 0\n" +
		"cpu1 1 0 0 9 0 0 0 0 0 0\n" +
		"cpu11 1 x 0 9 0 0 0 0 0 0\nintr 5\n"
	for _, tc := range []struct {
		name  string
		core  int
		want  time.Duration
		fails bool
	}{
		{name: "idle and iowait are not busy", core: 0, want: 3130 * time.Millisecond},
		{name: "the name is compared whole", core: 1, want: 10 * time.Millisecond},
		{name: "not a number", core: 11, fails: true},
		{name: "no such core", core: 2, fails: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := parseCoreBusy([]byte(stat), tc.core)
			if (err != nil) != tc.fails || got != tc.want {
				t.Errorf("busy %s, error %v; want %s, failure %v", got, err, tc.want, tc.fails)
			}
		})
	}
}
