package userspace

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7/certs"
)

// selfSigned makes a certificate for names that signs itself.
func selfSigned(t testing.TB, names ...string) snapshot.KeyPair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return snapshot.KeyPair{Cert: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), Key: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))}
}

// serveTLS answers with name, the server name that it was asked for, and what it gets.
func serveTLS(t testing.TB, name string, pair snapshot.KeyPair) *server {
	t.Helper()
	cert, err := tls.X509KeyPair([]byte(pair.Cert), []byte(pair.Key))
	if err != nil {
		t.Fatal(err)
	}
	return serveTCP(t, func(c *net.TCPConn) {
		conn := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
		if conn.Handshake() != nil {
			return
		}
		fmt.Fprintf(conn, "%s for %q: ", name, conn.ConnectionState().ServerName)
		_, _ = io.Copy(conn, conn)
		_ = conn.CloseWrite()
	})
}

// askTLS sends a line through a TLS connection to the gateway and returns what comes back, and the name on the certificate.
func (g *gateway) askTLS(conf *tls.Config, what string) (answer, cert string, err error) {
	raw := g.dial()
	conn := tls.Client(raw, conf)
	if err := conn.Handshake(); err != nil {
		return "", "", err
	}
	fmt.Fprint(conn, what)
	_ = conn.CloseWrite()
	b, err := io.ReadAll(conn)
	return string(b), conn.ConnectionState().PeerCertificates[0].Subject.CommonName, err
}

func named(sni, node string) *snapshot.StreamRoute {
	r := to(node)
	r.ID, r.SNI = "sni "+sni, sni
	return r
}

// TestPassthrough tests that TLS passes to the node that its server name belongs to, without being opened (t/stream-node/sni.t of APISIX has the order of routes).
func TestPassthrough(t *testing.T) {
	a, b := serveTLS(t, "a", selfSigned(t, "a.test")), serveTLS(t, "b", selfSigned(t, "*.b.test"))
	other := serveTLS(t, "other", selfSigned(t, "other"))
	g := start(t, Options{}, nil, named("a.test", a.addr), named("*.b.test", b.addr), to(other.addr))
	for _, tt := range []struct{ sni, want, cert string }{
		{"a.test", `a for "a.test": hi`, "a.test"},
		{"A.Test", `a for "A.Test": hi`, "a.test"},
		{"x.b.test", `b for "x.b.test": hi`, "*.b.test"},
		{"deep.x.b.test", `b for "deep.x.b.test": hi`, "*.b.test"},
		{"b.test", `other for "b.test": hi`, "other"},
		{"", `other for "": hi`, "other"},
	} {
		t.Run(tt.sni, func(t *testing.T) {
			g.t = t
			got, cert, err := g.askTLS(&tls.Config{ServerName: tt.sni, InsecureSkipVerify: true}, "hi")
			if err != nil || got != tt.want || cert != tt.cert {
				t.Errorf("got %q by %q, %v, want %q by %q", got, cert, err, tt.want, tt.cert)
			}
		})
	}
	t.Run("a client that waits for the server", func(t *testing.T) {
		plain := serveTCP(t, says("220 ready"))
		g := start(t, Options{HelloTimeout: 50 * time.Millisecond}, nil, named("a.test", a.addr), to(plain.addr))
		if got := read(t, g.dial(), 9); got != "220 ready" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("half a hello", func(t *testing.T) {
		g := start(t, Options{HelloTimeout: 50 * time.Millisecond}, nil, named("a.test", a.addr), to(other.addr))
		c := g.dial()
		_, _ = c.Write(clientHello(t, &tls.Config{ServerName: "a.test"})[:50])
		if b, _ := io.ReadAll(c); len(b) > 0 {
			t.Errorf("got %q", b)
		}
		eventually(t, "it is counted", func() bool { return g.stats.Refused(ReasonTLS) == 1 })
	})
}

// TestTermination tests listeners that end TLS with the certificates of the snapshot, and nodes that speak TLS.
func TestTermination(t *testing.T) {
	plain := serveTCP(t, echo)
	secure := serveTLS(t, "node", selfSigned(t, "node.test"))
	ssls := []*snapshot.SSL{
		{ID: "1", SNIs: []string{"a.test", "*.a.test"}, Pairs: []snapshot.KeyPair{selfSigned(t, "a.test")}},
		{ID: "2", SNIs: []string{"b.test"}, Pairs: []snapshot.KeyPair{selfSigned(t, "b.test")}},
	}
	toTLS := named("b.test", secure.addr)
	toTLS.Upstream.Scheme = "tls"
	g := start(t, Options{TLS: certs.Options{FallbackSNI: "a.test"}}, func(l *TCPListener) { l.TLS = true })
	g.commit(&snapshot.Snapshot{SSLs: ssls, StreamRoutes: []*snapshot.StreamRoute{toTLS, to(plain.addr)}})
	for _, tt := range []struct{ sni, want, cert string }{
		{"a.test", "hi", "a.test"}, {"x.a.test", "hi", "a.test"}, {"b.test", `node for "b.test": hi`, "b.test"}, {"", "hi", "a.test"}, {"c.test", "", ""},
	} {
		t.Run(tt.sni, func(t *testing.T) {
			g.t = t
			got, cert, err := g.askTLS(&tls.Config{ServerName: tt.sni, InsecureSkipVerify: true}, "hi")
			if got != tt.want || cert != tt.cert || (err == nil) != (tt.cert != "") {
				t.Errorf("got %q by %q, %v, want %q by %q", got, cert, err, tt.want, tt.cert)
			}
		})
	}
	t.Run("a new certificate leaves connections alone", func(t *testing.T) {
		g.t = t
		conn := tls.Client(g.dial(), &tls.Config{ServerName: "a.test", InsecureSkipVerify: true})
		fmt.Fprint(conn, "1")
		read(t, conn, 1)
		g.commit(&snapshot.Snapshot{SSLs: []*snapshot.SSL{{ID: "1", SNIs: []string{"a.test"}, Pairs: []snapshot.KeyPair{selfSigned(t, "new.test")}}}, StreamRoutes: []*snapshot.StreamRoute{to(plain.addr)}})
		fmt.Fprint(conn, "2")
		if got := read(t, conn, 1); got != "2" {
			t.Errorf("got %q", got)
		}
		if _, cert, err := g.askTLS(&tls.Config{ServerName: "a.test", InsecureSkipVerify: true}, "hi"); cert != "new.test" {
			t.Errorf("the new connection got %q, %v", cert, err)
		}
	})
}

// TestUpstreamVerification tests tls.verify: a node with a certificate that nobody vouches for is not talked to.
func TestUpstreamVerification(t *testing.T) {
	secure := serveTLS(t, "node", selfSigned(t, "localhost"))
	for _, verify := range []bool{false, true} {
		r := to(secure.addr)
		r.Upstream.Scheme, r.Upstream.TLS = "tls", &snapshot.UpstreamTLS{Verify: verify}
		g := start(t, Options{}, nil, r)
		c := g.dial()
		fmt.Fprint(c, "hi")
		_ = c.CloseWrite()
		b, _ := io.ReadAll(c)
		if got := string(b); (got == `node for "": hi`) == verify {
			t.Errorf("verify %v: got %q", verify, got)
		}
	}
	r := to(secure.addr)
	r.Upstream.Scheme, r.Upstream.TLS = "tls", &snapshot.UpstreamTLS{ClientCert: "x", ClientKey: "y"}
	if _, err := New(Options{}).Prepare(t.Context(), &snapshot.Snapshot{StreamRoutes: []*snapshot.StreamRoute{r}}); err == nil || errors.Unwrap(err) == nil {
		t.Errorf("a client certificate that is none: %v", err)
	}
}

// TestUpstreamName tests which name a node of scheme tls is asked for, and that its certificate must have it when tls.verify says so.
func TestUpstreamName(t *testing.T) {
	pair := selfSigned(t, "a.test", "127.0.0.1")
	secure := serveTLS(t, "node", pair)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(pair.Cert)) {
		t.Fatal("no certificate")
	}
	ssls := []*snapshot.SSL{{ID: "1", SNIs: []string{"*.test"}, Pairs: []snapshot.KeyPair{selfSigned(t, "*.test")}}}
	for _, tt := range []struct {
		name, sni, want string
	}{
		{"what the client asks for", "a.test", `node for "a.test": hi`},
		{"what the client asks for, which the node is not", "b.test", ""},
		{"the node's address", "", `node for "": hi`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := to(secure.addr)
			r.Upstream.Scheme, r.Upstream.TLS = "tls", &snapshot.UpstreamTLS{Verify: true}
			g := start(t, Options{}, func(l *TCPListener) { l.TLS = tt.sni != "" })
			n, err := g.Prepare(t.Context(), &snapshot.Snapshot{StreamRoutes: []*snapshot.StreamRoute{r}, SSLs: ssls})
			if err != nil {
				t.Fatal(err)
			}
			n.routes[r].tls.RootCAs = roots // instead of the system's
			n.Commit()
			if tt.sni != "" {
				if got, _, err := g.askTLS(&tls.Config{ServerName: tt.sni, InsecureSkipVerify: true}, "hi"); got != tt.want {
					t.Errorf("got %q, %v", got, err)
				}
				return
			}
			c := g.dial()
			fmt.Fprint(c, "hi")
			_ = c.CloseWrite()
			if b, err := io.ReadAll(c); string(b) != tt.want {
				t.Errorf("got %q, %v", b, err)
			}
		})
	}
}
