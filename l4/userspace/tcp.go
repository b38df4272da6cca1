package userspace

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/proxyproto"
	"github.com/sluice-gateway/sluice/l7/upstream"
)

// acceptRetry is how long to wait for descriptors.
const acceptRetry = 50 * time.Millisecond

func (p *Plane) acceptTCP(l TCPListener) {
	for {
		c, err := l.AcceptTCP()
		if err != nil {
			select {
			case <-p.ending:
				return
			default:
			}
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM) {
				p.o.Logger.Warn("accept failed, waiting for connections to end", "err", err, "addr", l.Addr().String())
				select {
				case <-p.ending:
					return
				case <-time.After(acceptRetry):
				}
			}
			continue
		}
		p.stats.Accepted.Add(1)
		if p.stats.Active.Load() >= int64(p.o.MaxConns) {
			p.refuse(ReasonLimit, "", nil)
			_ = c.SetLinger(0)
			_ = c.Close()
			continue
		}
		p.stats.Active.Add(1)
		p.wg.Add(1)
		go func() {
			defer p.wg.Done()
			defer p.stats.Active.Add(-1)
			p.serveTCP(l, c)
		}()
	}
}

// refuse counts what is not proxied. The reason is in the metrics; the log has the single cases for those who look for them.
func (p *Plane) refuse(why Reason, route string, err error) {
	p.stats.refused[why].Add(1)
	p.o.Logger.Debug("stream refused", "reason", why.String(), "route_id", route, "err", err)
}

// session is one TCP connection of a client.
type session struct {
	p      *Plane
	l      TCPListener
	raw    *net.TCPConn
	client end
	// peer is who connected, from the client's address as far as it is known.
	from, server netip.AddrPort
	sni          string

	route *route
	node  *upstream.Node
	ex    *plugin.Exchange // nil when nothing needs it
	up    atomic.Pointer[net.TCPConn]
	// cancel ends waiting and dialling.
	cancel context.CancelFunc
}

// abort cuts the connection.
func (s *session) abort() {
	s.cancel()
	_ = s.raw.SetLinger(0)
	_ = s.raw.Close()
	if up := s.up.Load(); up != nil {
		_ = up.SetLinger(0)
		_ = up.Close()
	}
}

func (p *Plane) serveTCP(l TCPListener, c *net.TCPConn) {
	ctx, cancel := context.WithCancel(context.Background())
	s := &session{p: p, l: l, raw: c, client: end{raw: c, conn: c}, from: addrPort(c.RemoteAddr()), server: addrPort(c.LocalAddr()), cancel: cancel}
	defer cancel()
	defer c.Close()
	defer func() {
		if v := recover(); v != nil {
			p.o.Logger.Error("stream connection panicked", "err", v, "stack", string(debug.Stack()))
		}
	}()
	if !p.enter(s) {
		return
	}
	defer p.leave(s)
	t := p.table.Load()
	if why, err := s.identify(t); err != nil {
		if !errors.Is(err, io.EOF) {
			p.refuse(why, "", err)
		}
		return
	}
	// The newest table: what was published while the client identified itself applies to it.
	r := p.table.Load().match(s.from, s.server, s.sni)
	if r == nil {
		p.refuse(ReasonRoute, "", nil)
		return
	}
	s.route = r
	r.retain()
	defer r.release()
	r.stats.Total.Add(1)
	r.stats.Active.Add(1)
	defer r.stats.Active.Add(-1)
	s.run(ctx)
}

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// identify finds out who the client is and which server name it asks for.
func (s *session) identify(t *table) (Reason, error) {
	if !s.l.ProxyProtocol && !s.l.TLS && !t.wantsSNI(s.server) {
		return 0, nil
	}
	_ = s.raw.SetDeadline(time.Now().Add(s.p.o.HelloTimeout))
	defer s.raw.SetDeadline(time.Time{})
	if s.l.ProxyProtocol {
		if err := s.readProxy(); err != nil {
			return ReasonProxyProtocol, err
		}
	}
	if s.l.TLS {
		conn := tls.Server(&prefixConn{s.raw, s.client.pre}, s.p.certs.Config())
		if err := conn.Handshake(); err != nil {
			return ReasonTLS, err
		}
		s.client.conn, s.client.pre = conn, nil
		s.sni = conn.ConnectionState().ServerName
		return 0, nil
	}
	if t.wantsSNI(s.server) {
		return ReasonTLS, s.peekHello()
	}
	return 0, nil
}

// readProxy reads the PROXY protocol header.
func (s *session) readProxy() error {
	buf := make([]byte, 0, proxyproto.MaxHeader)
	for {
		h, n, err := proxyproto.Parse(buf)
		if err == nil {
			s.client.pre = slices.Clone(buf[n:])
			if h.Source.IsValid() && slices.ContainsFunc(s.p.o.TrustProxy, func(t netip.Prefix) bool { return t.Contains(s.from.Addr()) }) {
				s.from = h.Source
			}
			return nil
		}
		if !errors.Is(err, proxyproto.ErrIncomplete) {
			return err
		}
		n, err = s.raw.Read(buf[len(buf):cap(buf)])
		if err != nil {
			return err
		}
		buf = buf[:len(buf)+n]
	}
}

// peekHello reads ahead until the server name is known. A client that says nothing may wait for the server to begin, and one that speaks something else than TLS has no server
// name: both go to the routes without sni.
func (s *session) peekHello() error {
	buf := s.client.pre
	for {
		name, err := serverName(buf)
		if !errors.Is(err, errHelloIncomplete) {
			if err == nil {
				s.sni = name
			} else if !errors.Is(err, errNotTLS) {
				return err
			}
			s.client.pre = buf
			return nil
		}
		if len(buf) >= maxHello {
			return errHelloTooLong
		}
		buf = slices.Grow(buf, 2048)
		n, err := s.raw.Read(buf[len(buf):min(cap(buf), maxHello)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, os.ErrDeadlineExceeded) && len(buf) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// run proxies a connection that has a route.
func (s *session) run(ctx context.Context) {
	p, r := s.p, s.route
	var up, down int64
	if p.observed(r) {
		s.ex = p.exchange(r, "TCP", s.from, s.server, addrPort(s.raw.RemoteAddr()))
		if s.sni != "" {
			name := "ssl_preread_server_name"
			if s.l.TLS {
				name = "ssl_server_name"
			}
			s.ex.SetVar(name, []byte(s.sni))
		}
		defer func() { p.finish(r, s.ex, up, down) }()
		if err := p.admit(r, s.ex); err != nil {
			p.refuse(ReasonPlugin, r.def.ID, err)
			return
		}
		if d := s.ex.Delay; d > 0 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(d):
			}
		}
	}
	node, err := s.connect(ctx)
	if err != nil && ctx.Err() != nil {
		return
	}
	if err != nil {
		p.unreachable(r, err)
		if s.ex != nil {
			s.ex.Response.Status = statusBadGateway
		}
		return
	}
	defer r.up.Release(s.node)
	up, down = relay(&s.client, node, max(r.up.Timeouts.Read, r.up.Timeouts.Send))
	r.stats.BytesIn.Add(uint64(up))
	r.stats.BytesOut.Add(uint64(down))
}

// connect picks a node and dials it, and tries others as the upstream's retries allow.
func (s *session) connect(ctx context.Context) (*end, error) {
	u := s.route.up
	if u == nil {
		return nil, errNoUpstream
	}
	pick := upstream.Pick{}
	if s.ex != nil && u.NeedsKey() {
		pick.Key = u.HashKey(s.ex)
	}
	begun := time.Now()
	for tries := 0; ; tries++ {
		now := time.Now()
		pick.Now = plugin.ClockAt(now)
		node, err := u.Pick(&pick)
		if err != nil {
			return nil, err
		}
		e, event, err := s.dial(ctx, node)
		if err != nil && ctx.Err() != nil {
			// The plane closes; that says nothing about the node.
			u.Release(node)
			return nil, ctx.Err()
		}
		if !local(err) {
			u.Report(node, event, time.Since(now), plugin.Clock())
		}
		if s.ex != nil {
			attempt(s.ex, node.HostPort, node.Addr, pick.Now, err == nil)
		}
		if err == nil {
			s.node = node
			return e, nil
		}
		u.Release(node)
		s.p.o.Logger.Debug("connect to upstream failed", "upstream", node.HostPort, "route_id", s.route.def.ID, "err", err)
		if tries >= u.Retries() || u.RetryTimeout > 0 && time.Since(begun) >= u.RetryTimeout {
			return nil, err
		}
	}
}

// dial connects to a node, with the PROXY protocol header and the TLS handshake that belong to it.
func (s *session) dial(ctx context.Context, node *upstream.Node) (*end, upstream.Event, error) {
	u := s.route.up
	ctx, cancel := context.WithTimeout(ctx, u.Timeouts.Connect)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", node.Addr.String())
	if err != nil {
		if ctx.Err() != nil {
			return nil, upstream.ConnectTimeout, err
		}
		return nil, upstream.ConnectError, err
	}
	raw := c.(*net.TCPConn)
	s.up.Store(raw)
	e := &end{raw: raw, conn: raw}
	if s.l.ProxyProtocolOut {
		if _, err := raw.Write(proxyproto.AppendV1(nil, proxyproto.Header{Source: s.from, Destination: s.server})); err != nil {
			_ = raw.Close()
			return nil, upstream.Reset, err
		}
	}
	if s.route.tls != nil {
		conf := s.route.tls.Clone()
		conf.ServerName = s.upstreamName(node)
		conn := tls.Client(raw, conf)
		if err := conn.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, upstream.ConnectError, err
		}
		e.conn = conn
	}
	return e, upstream.Success, nil
}

// upstreamName is whom the node has to be: the server that the client asked for (upstream_sni in apisix/upstream.lua), or else the node as it is configured. An address is
// looked for in the certificate and not sent.
func (s *session) upstreamName(n *upstream.Node) string {
	if s.sni != "" {
		return s.sni
	}
	return strings.Trim(n.Host, "[]")
}
