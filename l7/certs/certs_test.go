package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/control/snapshot"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t *testing.T, name string, parent *authority) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	signer, signKey := tmpl, key
	if parent != nil {
		signer, signKey = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, signer, &key.PublicKey, signKey)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return a
}

// issue makes a pair for names; kind is "ecc" or "rsa".
func (a *authority) issue(t *testing.T, kind string, names ...string) snapshot.KeyPair {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: kind + " " + names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	var public, private any
	if kind == "rsa" {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		public, private = &key.PublicKey, key
	} else {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		public, private = &key.PublicKey, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, public, a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return snapshot.KeyPair{Cert: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		Key: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))}
}

// handshake connects to the store with conf and returns the name on the server's certificate.
func handshake(t *testing.T, s *Store, conf *tls.Config) (name string, serverErr, clientErr error) {
	t.Helper()
	a, b := net.Pipe()
	server := tls.Server(a, s.Config())
	done := make(chan error, 1)
	go func() {
		err := server.Handshake()
		a.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = server.Write([]byte("x"))
		done <- err
		a.Close()
	}()
	client := tls.Client(b, conf)
	b.SetDeadline(time.Now().Add(5 * time.Second))
	clientErr = client.Handshake()
	if clientErr == nil {
		_, clientErr = client.Read(make([]byte, 1))
		name = client.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	b.Close()
	return name, <-done, clientErr
}

func index(t *testing.T, o Options, prev *Index, list ...*snapshot.SSL) *Index {
	t.Helper()
	i, errs := New(list, o, prev)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return i
}

func TestSelection(t *testing.T) {
	ca := newAuthority(t, "root", nil)
	exact := &snapshot.SSL{ID: "exact", SNIs: []string{"a.example.com"}, Pairs: []snapshot.KeyPair{ca.issue(t, "ecc", "a.example.com"), ca.issue(t, "rsa", "a.example.com")}}
	wild := &snapshot.SSL{ID: "wild", SNIs: []string{"*.example.com", "Example.com"}, Pairs: []snapshot.KeyPair{ca.issue(t, "ecc", "*.example.com", "example.com")}}
	old := &snapshot.SSL{ID: "old", SNIs: []string{"old.test"}, Protocols: []string{"TLSv1.2"}, Pairs: []snapshot.KeyPair{ca.issue(t, "ecc", "old.test")}}
	client := &snapshot.SSL{ID: "client", Type: "client", SNIs: []string{"client.test"}}
	var s Store
	s.Set(index(t, Options{}, nil, exact, wild, old, client))

	for _, tt := range []struct {
		name, sni string
		edit      func(*tls.Config)
		want      string
	}{
		{"exact", "a.example.com", nil, "ecc a.example.com"},
		{"exact in capitals", "A.EXAMPLE.com", nil, "ecc a.example.com"},
		{"a client that knows RSA only", "a.example.com", func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
		}, "rsa a.example.com"},
		{"wildcard", "b.example.com", nil, "ecc *.example.com"},
		{"the domain itself", "example.com", nil, "ecc *.example.com"},
		{"wildcards cover one label", "a.b.example.com", nil, ""},
		{"an old version where it is allowed", "old.test", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, "ecc old.test"},
		{"a new version where it is not", "old.test", func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }, ""},
		{"too old a version", "a.example.com", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, ""},
		{"unknown", "x.test", nil, ""},
		{"certificates of type client are for upstreams", "client.test", nil, ""},
		{"no name", "", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conf := &tls.Config{ServerName: tt.sni, InsecureSkipVerify: true}
			if tt.edit != nil {
				tt.edit(conf)
			}
			got, serverErr, clientErr := handshake(t, &s, conf)
			if got != tt.want {
				t.Errorf("got certificate %q (server %v, client %v), want %q", got, serverErr, clientErr, tt.want)
			}
			if tt.want == "" && (serverErr == nil || clientErr == nil) {
				t.Errorf("server %v, client %v, want errors", serverErr, clientErr)
			}
		})
	}

	t.Run("fallback_sni", func(t *testing.T) {
		var s Store
		s.Set(index(t, Options{FallbackSNI: "b.example.com"}, nil, wild))
		if got, _, err := handshake(t, &s, &tls.Config{InsecureSkipVerify: true}); got != "ecc *.example.com" {
			t.Errorf("got %q, %v", got, err)
		}
		if _, err := s.Index().config(&tls.ClientHelloInfo{ServerName: "x.test"}); !errors.Is(err, ErrNoCertificate) {
			t.Errorf("an unknown name: %v, want ErrNoCertificate", err)
		}
	})
}

func TestClientCertificates(t *testing.T) {
	ca, other := newAuthority(t, "clients", nil), newAuthority(t, "other", nil)
	middle := newAuthority(t, "middle", ca)
	server := newAuthority(t, "servers", nil).issue(t, "ecc", "m.test")
	pair := func(a *authority, chain ...*authority) *tls.Certificate {
		p := a.issue(t, "ecc", "jack")
		for _, c := range chain {
			p.Cert += c.pem
		}
		cert, err := tls.X509KeyPair([]byte(p.Cert), []byte(p.Key))
		if err != nil {
			t.Fatal(err)
		}
		return &cert
	}
	for _, tt := range []struct {
		name  string
		depth int
		cert  *tls.Certificate
		ok    bool
	}{
		{"signed by the CA", 1, pair(ca), true},
		{"none", 1, nil, false},
		{"signed by another", 1, pair(other), false},
		{"one between, depth 1", 1, pair(middle, middle), true},
		{"one between, depth 0", 0, pair(middle, middle), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s Store
			s.Set(index(t, Options{}, nil, &snapshot.SSL{ID: "1", SNIs: []string{"m.test"}, Pairs: []snapshot.KeyPair{server}, ClientCA: ca.pem, Depth: tt.depth}))
			conf := &tls.Config{ServerName: "m.test", InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if tt.cert == nil {
					return &tls.Certificate{}, nil
				}
				return tt.cert, nil
			}}
			_, serverErr, clientErr := handshake(t, &s, conf)
			if ok := serverErr == nil && clientErr == nil; ok != tt.ok {
				t.Errorf("server %v, client %v, want ok %v", serverErr, clientErr, tt.ok)
			}
		})
	}
}

// TestNew tests what is kept of the index before, and that one bad entry does not take the others along.
func TestNew(t *testing.T) {
	ca := newAuthority(t, "root", nil)
	good := &snapshot.SSL{ID: "good", SNIs: []string{"a.test"}, Pairs: []snapshot.KeyPair{ca.issue(t, "ecc", "a.test")}}
	first := index(t, Options{}, nil, good)
	newer := &snapshot.SSL{ID: "newer", SNIs: []string{"a.test"}, Pairs: []snapshot.KeyPair{ca.issue(t, "ecc", "a.test")}}
	second, errs := New([]*snapshot.SSL{good, newer,
		{ID: "pem", SNIs: []string{"b.test"}, Pairs: []snapshot.KeyPair{{Cert: "$secret://vault/1/c", Key: "super secret"}}},
		{ID: "none", SNIs: []string{"c.test"}},
		{ID: "ca", SNIs: []string{"d.test"}, Pairs: good.Pairs, ClientCA: "x"},
		{ID: "version", SNIs: []string{"e.test"}, Pairs: good.Pairs, Protocols: []string{"SSLv3"}},
	}, Options{}, first)
	if first.entries[good] != second.entries[good] {
		t.Error("an unchanged entry was made anew, and its session tickets are void")
	}
	if second.lookup("a.test") != second.entries[newer] {
		t.Error("the older of two entries has the name")
	}
	for i, want := range []string{"ssl pem: certificate 1", "ssl none: it has no certificate", "ssl ca: client.ca", "ssl version: ssl_protocols"} {
		if i >= len(errs) || !strings.Contains(errs[i].Error(), want) || strings.Contains(errs[i].Error(), "super secret") {
			t.Errorf("errors %v, want one with %q", errs, want)
		}
	}
	if len(errs) != 4 {
		t.Errorf("%d errors, want 4: %v", len(errs), errs)
	}
}
