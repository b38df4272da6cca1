// Package certs chooses the certificate for a TLS handshake: it turns the ssls of a snapshot into an immutable index by server name. A listener asks the newest index
// for each handshake, so that certificates change without touching open connections.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/sluice-gateway/sluice/control/snapshot"
)

// Options are what config.yaml says about TLS for all certificates.
type Options struct {
	// MinVersion and MaxVersion are for entries without ssl_protocols; 0 is TLS 1.2 and 1.3.
	MinVersion, MaxVersion uint16
	// FallbackSNI is the name that is assumed for clients that send none; empty refuses them.
	FallbackSNI string
	// NextProtos is what ALPN offers, in order of preference.
	NextProtos []string
	// NoTickets switches session tickets off.
	NoTickets bool
}

// Store holds the index that handshakes use. Its zero value has no certificates.
type Store struct{ index atomic.Pointer[Index] }

// Set publishes an index.
func (s *Store) Set(i *Index) { s.index.Store(i) }

// Index is the index that handshakes use now; never nil.
func (s *Store) Index() *Index {
	if i := s.index.Load(); i != nil {
		return i
	}
	return empty
}

var empty = &Index{}

// Config is a configuration for tls.Server that follows the store.
func (s *Store) Config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) { return s.Index().config(hello) }}
}

// Index finds certificates by server name. It is immutable.
type Index struct {
	o       Options
	entries map[*snapshot.SSL]*entry
	exact   map[string]*entry
	// wildcard is by what follows "*".
	wildcard map[string]*entry
}

// entry is one ssl resource.
type entry struct{ config *tls.Config }

// ErrNoCertificate ends the handshake of a client that asks for a name that no certificate is for.
var ErrNoCertificate = errors.New("no certificate for the server name")

// New makes an index of the entries of type server. What prev has of the same entries is taken over, with the session tickets that were issued for them. An entry that
// cannot be used, say because a reference in it does not resolve, is left out, with an error that names it. When two entries have a name in common the newer one, which comes later
// in list, has it.
func New(list []*snapshot.SSL, o Options, prev *Index) (*Index, []error) {
	var errs []error
	i := &Index{o: o, entries: make(map[*snapshot.SSL]*entry, len(list)), exact: map[string]*entry{}, wildcard: map[string]*entry{}}
	for _, s := range list {
		if s.Type == "client" {
			continue
		}
		var e *entry
		if prev != nil {
			e = prev.entries[s]
		}
		if e == nil {
			var err error
			if e, err = newEntry(s, o); err != nil {
				errs = append(errs, fmt.Errorf("ssl %s: %w", s.ID, err))
				continue
			}
		}
		i.entries[s] = e
		for _, name := range s.SNIs {
			name = strings.ToLower(name)
			if suffix, ok := strings.CutPrefix(name, "*"); ok {
				i.wildcard[suffix] = e
			} else {
				i.exact[name] = e
			}
		}
	}
	return i, errs
}

func newEntry(s *snapshot.SSL, o Options) (*entry, error) {
	c := &tls.Config{MinVersion: o.MinVersion, MaxVersion: o.MaxVersion, NextProtos: o.NextProtos, SessionTicketsDisabled: o.NoTickets}
	if c.MinVersion == 0 {
		c.MinVersion = tls.VersionTLS12
	}
	for n, pair := range s.Pairs {
		cert, err := tls.X509KeyPair([]byte(pair.Cert), []byte(pair.Key))
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", n+1, err)
		}
		c.Certificates = append(c.Certificates, cert)
	}
	if len(c.Certificates) == 0 {
		return nil, errors.New("it has no certificate")
	}
	if len(s.Protocols) > 0 {
		var err error
		if c.MinVersion, c.MaxVersion, err = versions(s.Protocols); err != nil {
			return nil, err
		}
	}
	if s.ClientCA != "" {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(s.ClientCA)) {
			return nil, errors.New("client.ca: no certificate in it")
		}
		c.ClientCAs, c.ClientAuth = pool, tls.RequireAndVerifyClientCert
		c.VerifyPeerCertificate = maxDepth(s.Depth)
	}
	return &entry{c}, nil
}

// maxDepth refuses chains with more intermediate certificates than depth, as OpenSSL counts for nginx's ssl_verify_depth.
func maxDepth(depth int) func([][]byte, [][]*x509.Certificate) error {
	return func(_ [][]byte, chains [][]*x509.Certificate) error {
		for _, c := range chains {
			if len(c)-2 <= depth {
				return nil
			}
		}
		return fmt.Errorf("certificate chain is longer than client.depth, which is %d", depth)
	}
}

var versionNames = map[string]uint16{"TLSv1": tls.VersionTLS10, "TLSv1.1": tls.VersionTLS11, "TLSv1.2": tls.VersionTLS12, "TLSv1.3": tls.VersionTLS13}

// versions is the range of a list like [TLSv1.2, TLSv1.3]. crypto/tls knows ranges only, so a version between two of the list is on too.
func versions(list []string) (lo, hi uint16, err error) {
	for _, name := range list {
		v, ok := versionNames[name]
		if !ok {
			return 0, 0, fmt.Errorf("ssl_protocols: %q is none of TLSv1, TLSv1.1, TLSv1.2, TLSv1.3", name)
		}
		if lo == 0 || v < lo {
			lo = v
		}
		hi = max(hi, v)
	}
	return lo, hi, nil
}

// Versions is the range of the protocols that config.yaml lists.
func Versions(list []string) (lo, hi uint16, err error) { return versions(list) }

// lookup finds the entry for a name: the exact one, or the wildcard of its parent domain (one label, RFC 6125 section 6.4.3).
func (i *Index) lookup(name string) *entry {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if e := i.exact[name]; e != nil {
		return e
	}
	if dot := strings.IndexByte(name, '.'); dot > 0 {
		return i.wildcard[name[dot:]]
	}
	return nil
}

func (i *Index) config(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	name := hello.ServerName
	if name == "" {
		name = i.o.FallbackSNI
	}
	if name == "" {
		return nil, fmt.Errorf("%w: the client sent none, and apisix.ssl.fallback_sni is not set", ErrNoCertificate)
	}
	e := i.lookup(name)
	if e == nil {
		return nil, fmt.Errorf("%w %.253q", ErrNoCertificate, name)
	}
	return e.config, nil
}
