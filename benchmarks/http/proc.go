package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// userHZ is the unit of the times in /proc: USER_HZ ticks per second, 100 on every Linux architecture of today.
const userHZ = 100

// procStat is what the harness needs of /proc/PID/stat (proc(5)).
type procStat struct {
	pid, ppid    int
	utime, stime uint64 // USER_HZ ticks, all threads
}

// parseProcStat reads one /proc/PID/stat line. The command name stands in parentheses and may itself hold
// blanks and parentheses, so the fields are counted from the last closing one.
func parseProcStat(line string) (procStat, error) {
	var st procStat
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 1 || end < open {
		return st, fmt.Errorf("parse process stat: no command name in %q", line)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line[:open]))
	if err != nil {
		return st, fmt.Errorf("parse process stat: %w", err)
	}
	rest := strings.Fields(line[end+1:])
	if len(rest) < 13 {
		return st, fmt.Errorf("parse process stat: %d fields after the command name, need 13", len(rest))
	}
	st.pid = pid
	if st.ppid, err = strconv.Atoi(rest[1]); err != nil {
		return st, fmt.Errorf("parse process stat: parent: %w", err)
	}
	if st.utime, err = strconv.ParseUint(rest[11], 10, 64); err != nil {
		return st, fmt.Errorf("parse process stat: utime: %w", err)
	}
	if st.stime, err = strconv.ParseUint(rest[12], 10, 64); err != nil {
		return st, fmt.Errorf("parse process stat: stime: %w", err)
	}
	return st, nil
}

// descendants returns root and every process below it.
func descendants(all []procStat, root int) []procStat {
	children := map[int][]procStat{}
	var out []procStat
	for _, st := range all {
		children[st.ppid] = append(children[st.ppid], st)
		if st.pid == root {
			out = append(out, st)
		}
	}
	for i := 0; i < len(out); i++ {
		out = append(out, children[out[i].pid]...)
	}
	return out
}

// processTree reads /proc and returns the process root with all its descendants.
func processTree(root int) ([]procStat, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var all []procStat
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		line, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read process %s: %w", e.Name(), err)
		}
		st, err := parseProcStat(string(line))
		if err != nil {
			return nil, err
		}
		all = append(all, st)
	}
	tree := descendants(all, root)
	if len(tree) == 0 {
		return nil, fmt.Errorf("process %d is gone", root)
	}
	return tree, nil
}

// cpuTime is the CPU time of a process tree: total from the per-process CPU clocks (the same quantity as
// utime+stime, in nanoseconds instead of 10 ms ticks), user and system from /proc/PID/stat.
type cpuTime struct {
	total, user, system time.Duration
}

func (c cpuTime) sub(o cpuTime) cpuTime {
	return cpuTime{total: c.total - o.total, user: c.user - o.user, system: c.system - o.system}
}

// treeCPU sums the CPU time of root and all its descendants.
func treeCPU(root int) (cpuTime, error) {
	var sum cpuTime
	tree, err := processTree(root)
	if err != nil {
		return sum, err
	}
	for _, st := range tree {
		var ts unix.Timespec
		if err := unix.ClockGettime(processClock(st.pid), &ts); err != nil {
			return sum, fmt.Errorf("read CPU clock of process %d: %w", st.pid, err)
		}
		sum.total += time.Duration(ts.Nano())
		sum.user += time.Duration(st.utime) * (time.Second / userHZ)
		sum.system += time.Duration(st.stime) * (time.Second / userHZ)
	}
	return sum, nil
}

// processClock is the id of a process's CPU clock, as clock_getcpuclockid(3) makes it: the complement of the
// pid above three bits that hold CPUCLOCK_SCHED, the clock of all threads together.
func processClock(pid int) int32 {
	const cpuclockSched = 2
	return int32(^pid<<3 | cpuclockSched)
}

// parseCoreBusy returns how long a core has been busy since boot, from the text of /proc/stat: everything but
// idle and iowait, stolen time included. Guest time is already part of user time.
func parseCoreBusy(stat []byte, core int) (time.Duration, error) {
	name := "cpu" + strconv.Itoa(core)
	for line := range bytes.Lines(stat) {
		fields := strings.Fields(string(line))
		if len(fields) < 9 || fields[0] != name {
			continue
		}
		var ticks uint64
		for i, f := range fields[1:9] {
			const idle, iowait = 3, 4
			v, err := strconv.ParseUint(f, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("parse %s in /proc/stat: %w", name, err)
			}
			if i != idle && i != iowait {
				ticks += v
			}
		}
		return time.Duration(ticks) * (time.Second / userHZ), nil
	}
	return 0, fmt.Errorf("no %s in /proc/stat; choose another -proxy-cpu", name)
}

// coreBusy reads how long a core has been busy since boot.
func coreBusy(core int) (time.Duration, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("read CPU statistics: %w", err)
	}
	return parseCoreBusy(stat, core)
}

// loadAverage returns the three load averages as the kernel prints them.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}
