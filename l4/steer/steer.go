package steer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/sluice-gateway/sluice/bpf"
)

// abi is the version of the maps' layout (STEER_ABI). It is part of the folder's name, so that versions do not meet.
const abi = 1

const folder = "steer-v"

// ErrUnavailable means that this kernel or this process cannot steer. The error around it says what is missing.
var ErrUnavailable = errors.New("steering is not available")

// Steerer owns the program and the maps in the network namespace of the process. It is safe for concurrent use.
type Steerer struct {
	dir  string
	objs bpf.SteerObjects
	link link.Link

	mu sync.Mutex
}

// Open loads the program, or takes over what is pinned in dir, a folder on a BPF file system. Rules and sockets that are there go on working. What it loads stays when the
// process ends; Detach ends it.
func Open(dir string) (*Steerer, error) {
	if err := onBPF(dir); err != nil {
		return nil, err
	}
	if v := newest(dir); v > abi {
		return nil, fmt.Errorf("open steering in %s: a newer version of this program has pinned maps of layout %d, this one knows %d: use the newer program, or run \"sluice l4 detach\" with it first", dir, v, abi)
	}
	s := &Steerer{dir: filepath.Join(dir, folder+strconv.Itoa(abi))}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder for pins: %w", err)
	}
	spec, err := bpf.LoadSteer()
	if err != nil {
		return nil, err
	}
	for _, m := range spec.Maps {
		m.Pinning = ebpf.PinByName
	}
	if err := spec.LoadAndAssign(&s.objs, &ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: s.dir}}); err != nil {
		if errors.Is(err, ebpf.ErrMapIncompatible) {
			return nil, fmt.Errorf("open steering in %s: the maps that are pinned there have another layout: run \"sluice l4 detach\": %w", s.dir, err)
		}
		return nil, unavailable("load program sk_steer", err)
	}
	if err := s.attach(); err != nil {
		s.objs.Close()
		return nil, err
	}
	return s, nil
}

// attach puts the program into the pinned link, or makes the link.
func (s *Steerer) attach() error {
	path := filepath.Join(s.dir, "link")
	l, err := link.LoadPinnedLink(path, nil)
	if err == nil {
		if err := l.Update(s.objs.SkSteer); err == nil {
			s.link = l
			return nil
		}
		// It belongs to a network namespace that is gone.
		_ = l.Unpin()
		_ = l.Close()
	}
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer ns.Close()
	nl, err := link.AttachNetNs(int(ns.Fd()), s.objs.SkSteer)
	if err != nil {
		return unavailable("attach program sk_steer", err)
	}
	if err := nl.Pin(path); err != nil {
		_ = nl.Close()
		return fmt.Errorf("pin link of sk_steer in %s: %w", s.dir, err)
	}
	s.link = nl
	return nil
}

// unavailable adds what an operator can do.
func unavailable(what string, err error) error {
	var refused *ebpf.VerifierError
	switch {
	case errors.As(err, &refused):
		return fmt.Errorf("%w: %s: the kernel refused the program: %w", ErrUnavailable, what, err)
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w: %s: %w: the process needs the capabilities CAP_BPF and CAP_NET_ADMIN", ErrUnavailable, what, err)
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, syscall.EINVAL):
		return fmt.Errorf("%w: %s: %w: the kernel must be Linux 5.9 or newer with CONFIG_BPF_SYSCALL and CONFIG_NET_NS", ErrUnavailable, what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// onBPF tells whether dir, or the nearest folder above it that exists, is on a BPF file system.
func onBPF(dir string) error {
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		var st unix.Statfs_t
		err := unix.Statfs(d, &st)
		if errors.Is(err, syscall.ENOENT) && d != "/" {
			continue
		}
		if err != nil {
			return fmt.Errorf("%w: look at %s: %w", ErrUnavailable, d, err)
		}
		if st.Type != unix.BPF_FS_MAGIC {
			return fmt.Errorf("%w: %s is not on a BPF file system: mount one with \"mount -t bpf bpf /sys/fs/bpf\" and name a folder in it", ErrUnavailable, dir)
		}
		return nil
	}
}

// newest is the highest layout that is pinned in dir.
func newest(dir string) (v int) {
	list, _ := filepath.Glob(filepath.Join(dir, folder+"*"))
	for _, name := range list {
		if n, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(name), folder)); err == nil {
			v = max(v, n)
		}
	}
	return v
}

// Put makes rules the rules. What they have in common with the present ones stays untouched; what is new comes before what is old goes.
func (s *Steerer) Put(rules []Rule) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	want, err := entries(rules, s.group)
	if err != nil {
		return err
	}
	have, err := s.present()
	if err != nil {
		return err
	}
	put, remove := diff(have, want)
	for _, k := range put {
		v := want[k]
		if err := s.objs.SteerRules.Put(&k, &v); err != nil {
			return fmt.Errorf("write steering rule: %w", err)
		}
	}
	for _, k := range remove {
		if err := s.objs.SteerRules.Delete(&k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("delete steering rule: %w", err)
		}
	}
	return nil
}

func (s *Steerer) present() (map[bpf.SteerSteerKey]bpf.SteerSteerRule, error) {
	have := map[bpf.SteerSteerKey]bpf.SteerSteerRule{}
	var k bpf.SteerSteerKey
	var v bpf.SteerSteerRule
	it := s.objs.SteerRules.Iterate()
	for it.Next(&k, &v) {
		have[k] = v
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("read steering rules: %w", err)
	}
	return have, nil
}

// diff is what to write, longer prefixes first, and what to delete afterwards, shorter prefixes first, so that nothing is steered wrongly in between.
func diff(have, want map[bpf.SteerSteerKey]bpf.SteerSteerRule) (put, remove []bpf.SteerSteerKey) {
	for k, v := range want {
		if old, ok := have[k]; !ok || old != v {
			put = append(put, k)
		}
	}
	for k := range have {
		if _, ok := want[k]; !ok {
			remove = append(remove, k)
		}
	}
	slices.SortFunc(put, func(a, b bpf.SteerSteerKey) int { return int(b.Prefixlen) - int(a.Prefixlen) })
	slices.SortFunc(remove, func(a, b bpf.SteerSteerKey) int { return int(a.Prefixlen) - int(b.Prefixlen) })
	return put, remove
}

// group is the number of a group, given out the first time. The lock is held.
func (s *Steerer) group(name string) (uint32, error) {
	var key bpf.SteerSteerName
	if copy(key.Text[:], name) < len(name) {
		return 0, fmt.Errorf("group %.80q has too long a name", name)
	}
	var id uint32
	err := s.objs.SteerGroups.Lookup(&key, &id)
	if err == nil {
		return id, nil
	}
	if !errors.Is(err, ebpf.ErrKeyNotExist) {
		return 0, fmt.Errorf("look up group %s: %w", name, err)
	}
	used := map[uint32]bool{}
	var k bpf.SteerSteerName
	it := s.objs.SteerGroups.Iterate()
	for it.Next(&k, &id) {
		used[id] = true
	}
	if err := it.Err(); err != nil {
		return 0, fmt.Errorf("list groups: %w", err)
	}
	for id = 0; used[id]; id++ {
	}
	if id >= s.objs.SteerSockets.MaxEntries() {
		return 0, fmt.Errorf("group %s: %d groups are the most", name, s.objs.SteerSockets.MaxEntries())
	}
	if err := s.objs.SteerGroups.Put(&key, id); err != nil {
		return 0, fmt.Errorf("write group %s: %w", name, err)
	}
	return id, nil
}

// SetSocket makes the socket the one that new connections and datagrams of a group go to: a listening TCP socket, made with multipath TCP off, or a UDP socket. It leaves by itself
// when it is closed. Of sockets that share an address (SO_REUSEPORT) one stands for all.
func (s *Steerer) SetSocket(group string, socket syscall.Conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, err := s.group(group)
	if err != nil {
		return err
	}
	rc, err := socket.SyscallConn()
	if err != nil {
		return fmt.Errorf("steer group %s to socket: %w", group, err)
	}
	cerr := rc.Control(func(fd uintptr) { err = s.objs.SteerSockets.Put(id, uint64(fd)) })
	if err = errors.Join(cerr, err); err != nil {
		if errors.Is(err, syscall.EOPNOTSUPP) {
			err = fmt.Errorf("%w: a listening socket must be plain TCP, not multipath TCP", err)
		}
		return fmt.Errorf("steer group %s to socket: %w", group, err)
	}
	return nil
}

// Counters are what was steered.
type Counters struct {
	// Steered counts connections and datagrams that a socket got, Unserved those for which the group had none.
	Steered, Unserved uint64
}

// Counters are the counts by group.
func (s *Steerer) Counters() (map[string]Counters, error) {
	return counters(s.objs.SteerGroups, s.objs.SteerStats)
}

// Inspect reads the counts of what is pinned in dir and changes nothing; ok is false when nothing is.
func Inspect(dir string) (counts map[string]Counters, ok bool, err error) {
	dir = filepath.Join(dir, folder+strconv.Itoa(abi))
	if _, err := os.Stat(filepath.Join(dir, "link")); errors.Is(err, os.ErrNotExist) {
		return nil, false, nil
	}
	var pinned [2]*ebpf.Map
	for i, name := range []string{bpf.SteerMapSteerGroups, bpf.SteerMapSteerStats} {
		m, err := ebpf.LoadPinnedMap(filepath.Join(dir, name), &ebpf.LoadPinOptions{ReadOnly: true})
		if err != nil {
			return nil, false, unavailable("open pinned map "+name, err)
		}
		defer m.Close()
		pinned[i] = m
	}
	counts, err = counters(pinned[0], pinned[1])
	return counts, err == nil, err
}

func counters(groups, stats *ebpf.Map) (map[string]Counters, error) {
	out := map[string]Counters{}
	var name bpf.SteerSteerName
	var id uint32
	it := groups.Iterate()
	for it.Next(&name, &id) {
		var cpus []bpf.SteerSteerCounters
		if err := stats.Lookup(id, &cpus); err != nil {
			return nil, fmt.Errorf("read counters: %w", err)
		}
		var c Counters
		for i := range cpus {
			c.Steered += cpus[i].Steered
			c.Unserved += cpus[i].Unserved
		}
		out[strings.TrimRight(string(name.Text[:]), "\x00")] = c
	}
	return out, it.Err()
}

// Close gives the process's part back. Steering goes on.
func (s *Steerer) Close() error {
	return errors.Join(s.link.Close(), s.objs.Close())
}

// Detach ends steering by every version of this program that has pinned something in dir.
func Detach(dir string) error {
	list, err := filepath.Glob(filepath.Join(dir, folder+"*"))
	if err != nil {
		return err
	}
	for _, name := range list {
		if err := os.RemoveAll(name); err != nil {
			return fmt.Errorf("remove pins: %w", err)
		}
	}
	return nil
}
