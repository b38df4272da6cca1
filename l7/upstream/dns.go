package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// udpSize is the payload size offered to servers (RFC 6891); 1232 passes every usual path unfragmented.
	udpSize = 1232
	// maxChain bounds the CNAME records followed for one name.
	maxChain = 8
	// maxServers bounds the servers asked for one query, rounds how often each is asked.
	maxServers = 3
	rounds     = 2
)

var (
	// errNoName means that DNS answered and the name has no address.
	errNoName = errors.New("the name has no address")
	// errNXDomain is errNoName for every type (RFC 8020).
	errNXDomain = fmt.Errorf("%w: it does not exist", errNoName)
)

// dnsClient asks name servers.
type dnsClient struct {
	opts     ResolverOptions
	udp, tcp dns.Client

	mu    sync.Mutex
	conf  *dns.ClientConfig
	size  int64
	mtime time.Time
}

func newDNSClient(o ResolverOptions) *dnsClient {
	return &dnsClient{opts: o, udp: dns.Client{Net: "udp", Timeout: o.Timeout, UDPSize: udpSize},
		tcp: dns.Client{Net: "tcp", Timeout: o.Timeout}}
}

// config returns the servers to ask and resolv.conf, which is read again when it changes.
func (c *dnsClient) config() (servers []string, conf *dns.ClientConfig) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if st, err := os.Stat(c.opts.ResolvConf); err == nil && (c.conf == nil || st.Size() != c.size || !st.ModTime().Equal(c.mtime)) {
		if conf, err := dns.ClientConfigFromFile(c.opts.ResolvConf); err == nil {
			c.conf, c.size, c.mtime = conf, st.Size(), st.ModTime()
		}
	}
	conf = c.conf
	if conf == nil {
		conf = &dns.ClientConfig{Ndots: 1}
	}
	servers, port := c.opts.Servers, "53"
	if len(servers) == 0 {
		servers, port = conf.Servers, conf.Port
	}
	out := make([]string, 0, maxServers)
	for _, s := range servers[:min(len(servers), maxServers)] {
		if _, err := netip.ParseAddrPort(s); err != nil {
			s = net.JoinHostPort(strings.Trim(s, "[]"), port)
		}
		out = append(out, s)
	}
	return out, conf
}

// lookup asks for a host's A records and, when there is none and IPv6 is on, for its AAAA records, under each name of the search list.
func (c *dnsClient) lookup(ctx context.Context, host string) ([]netip.Addr, time.Duration, error) {
	servers, conf := c.config()
	if len(servers) == 0 {
		return nil, 0, fmt.Errorf("resolve %s: no name server: set apisix.dns_resolver or list one in %s", host, c.opts.ResolvConf)
	}
	names := []string{dns.Fqdn(host)}
	if c.opts.Search {
		names = conf.NameList(host)
	}
	types := []uint16{dns.TypeA}
	if c.opts.IPv6 {
		types = append(types, dns.TypeAAAA)
	}
	last := errNoName
	for _, name := range names {
		for _, t := range types {
			addrs, ttl, err := c.resolve(ctx, servers, name, t)
			if err == nil {
				return addrs, ttl, nil
			}
			// Servers that do not answer for one name will not do so for the next, and it must not be taken for another name.
			if !errors.Is(err, errNoName) {
				return nil, 0, fmt.Errorf("resolve %s: %w", host, err)
			}
			last = err
			if errors.Is(err, errNXDomain) {
				break
			}
		}
	}
	return nil, 0, fmt.Errorf("resolve %s: %w", host, last)
}

// resolve gets the addresses of one type, following aliases that the server did not follow itself.
func (c *dnsClient) resolve(ctx context.Context, servers []string, name string, typ uint16) ([]netip.Addr, time.Duration, error) {
	least := uint32(1<<32 - 1)
	for range maxChain {
		m, err := c.query(ctx, servers, name, typ)
		if err != nil {
			return nil, 0, err
		}
		addrs, end, ttl := readAnswer(m, name, typ)
		least = min(least, ttl)
		if len(addrs) > 0 {
			return addrs, time.Duration(least) * time.Second, nil
		}
		if end == dns.CanonicalName(name) {
			return nil, 0, errNoName
		}
		name = end
	}
	return nil, 0, fmt.Errorf("more than %d aliases", maxChain)
}

// query asks the servers in turn until one answers with NOERROR or NXDOMAIN (as errNXDomain).
func (c *dnsClient) query(ctx context.Context, servers []string, name string, typ uint16) (*dns.Msg, error) {
	var last error
	for range rounds {
		for _, s := range servers {
			m, err := c.exchange(ctx, s, name, typ)
			switch {
			case err != nil:
				last = err
			case m.Rcode == dns.RcodeSuccess:
				return m, nil
			case m.Rcode == dns.RcodeNameError:
				return nil, errNXDomain
			default:
				last = fmt.Errorf("server %s answered %s", s, dns.RcodeToString[m.Rcode])
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
		}
	}
	return nil, last
}

// exchange does one query over UDP, and over TCP when the answer was cut (RFC 7766 section 5).
func (c *dnsClient) exchange(ctx context.Context, server, name string, typ uint16) (*dns.Msg, error) {
	q := new(dns.Msg)
	q.SetQuestion(name, typ)
	q.SetEdns0(udpSize, false)
	m, err := ask(ctx, &c.udp, q, server)
	if err == nil && m.Truncated {
		m, err = ask(ctx, &c.tcp, q, server)
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", server, err)
	}
	if m.Rcode == dns.RcodeFormatError && m.IsEdns0() == nil {
		// A server without EDNS (RFC 6891 section 7).
		q.Extra = nil
		if m, err = ask(ctx, &c.udp, q, server); err != nil {
			return nil, fmt.Errorf("ask %s: %w", server, err)
		}
	}
	if !m.Response || len(m.Question) != 1 || m.Question[0].Qtype != typ || dns.CanonicalName(m.Question[0].Name) != dns.CanonicalName(name) {
		return nil, fmt.Errorf("ask %s: the answer is to another question", server)
	}
	return m, nil
}

// ask sends one query and waits for its answer. Unlike the client's own method it ends when ctx does, not only at ctx's deadline.
func ask(ctx context.Context, c *dns.Client, q *dns.Msg, server string) (*dns.Msg, error) {
	conn, err := c.DialContext(ctx, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	m, _, err := c.ExchangeWithConnContext(ctx, q, conn)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return m, err
}

// readAnswer follows the aliases of an answer from name on and returns the addresses at the end of the chain, the name there, and the lowest
// TTL on the way. Records of other names do not count (RFC 2181 section 5.4.1).
func readAnswer(m *dns.Msg, name string, typ uint16) (addrs []netip.Addr, end string, ttl uint32) {
	end, ttl = dns.CanonicalName(name), 1<<32-1
	for range maxChain {
		next := ""
		for _, rr := range m.Answer {
			h := rr.Header()
			if dns.CanonicalName(h.Name) != end || h.Class != dns.ClassINET {
				continue
			}
			switch rr := rr.(type) {
			case *dns.A:
				if a, ok := netip.AddrFromSlice(rr.A.To4()); ok && typ == dns.TypeA {
					addrs, ttl = append(addrs, a), min(ttl, h.Ttl)
				}
			case *dns.AAAA:
				if a, ok := netip.AddrFromSlice(rr.AAAA.To16()); ok && typ == dns.TypeAAAA {
					addrs, ttl = append(addrs, a.Unmap()), min(ttl, h.Ttl)
				}
			case *dns.CNAME:
				next = dns.CanonicalName(rr.Target)
				ttl = min(ttl, h.Ttl)
			}
		}
		if len(addrs) > 0 || next == "" || next == end {
			return addrs, end, ttl
		}
		end = next
	}
	return nil, end, ttl
}
