package upstream

import (
	"bytes"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// hostsTTL is how long an answer from the hosts file is used before the file is looked at again.
	hostsTTL = 5 * time.Second
	// maxHostsBytes is how much of a hosts file is read.
	maxHostsBytes = 4 << 20
)

// hostsFile reads a hosts file (hosts(5)) again whenever it changes.
type hostsFile struct {
	path string

	mu    sync.Mutex
	size  int64
	mtime time.Time
	names map[string][]netip.Addr
}

// lookup returns the IPv4 addresses of a lower-case name or, when it has none and v6 is true, its IPv6 addresses. A file that cannot be read
// has no names.
func (f *hostsFile) lookup(host string, v6 bool) []netip.Addr {
	f.mu.Lock()
	defer f.mu.Unlock()
	st, err := os.Stat(f.path)
	if err != nil {
		return nil
	}
	if f.names == nil || st.Size() != f.size || !st.ModTime().Equal(f.mtime) {
		b, err := readAtMost(f.path, maxHostsBytes)
		if err != nil {
			return nil
		}
		f.names, f.size, f.mtime = parseHosts(b), st.Size(), st.ModTime()
	}
	return preferV4(f.names[host], v6)
}

func readAtMost(path string, n int64) ([]byte, error) {
	fd, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer fd.Close()
	return io.ReadAll(io.LimitReader(fd, n))
}

// parseHosts reads lines of an address and names; "#" begins a comment. Lines that are not like that are skipped.
func parseHosts(b []byte) map[string][]netip.Addr {
	names := map[string][]netip.Addr{}
	for line := range bytes.Lines(b) {
		text, _, _ := bytes.Cut(line, []byte("#"))
		fields := strings.Fields(string(text))
		if len(fields) < 2 {
			continue
		}
		a, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		for _, n := range fields[1:] {
			n = strings.ToLower(strings.TrimSuffix(n, "."))
			names[n] = append(names[n], a.Unmap())
		}
	}
	return names
}

// preferV4 returns the IPv4 addresses or, when there is none and v6 is true, the IPv6 ones.
func preferV4(addrs []netip.Addr, v6 bool) []netip.Addr {
	var four, six []netip.Addr
	for _, a := range addrs {
		if a.Is4() {
			four = append(four, a)
		} else {
			six = append(six, a)
		}
	}
	if len(four) > 0 || !v6 {
		return four
	}
	return six
}
