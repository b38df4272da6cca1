package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/control/adminapi"
	"github.com/sluice-gateway/sluice/control/compile"
	"github.com/sluice-gateway/sluice/control/config"
	"github.com/sluice-gateway/sluice/control/crypt"
	"github.com/sluice-gateway/sluice/control/reconcile"
	"github.com/sluice-gateway/sluice/control/statusapi"
	"github.com/sluice-gateway/sluice/control/store/journal"
	"github.com/sluice-gateway/sluice/l4/steer"
	"github.com/sluice-gateway/sluice/l4/userspace"
	"github.com/sluice-gateway/sluice/l7"
	"github.com/sluice-gateway/sluice/l7/accesslog"
	"github.com/sluice-gateway/sluice/l7/engine"
	"github.com/sluice-gateway/sluice/l7/h1"
	"github.com/sluice-gateway/sluice/l7/listen"
	"github.com/sluice-gateway/sluice/l7/loop"
	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/expr"
	"github.com/sluice-gateway/sluice/l7/route"
	"github.com/sluice-gateway/sluice/l7/upstream"
)

const runUsage = `usage: sluice run [--config FILE]

Start the gateway and serve until SIGINT, SIGTERM or SIGQUIT; open requests may then take sluice.shutdown_timeout
to finish, and a second signal ends the process at once. SIGUSR1 reopens the access log, for log rotation. SIGHUP
and SIGUSR2 change nothing: resources change through the Admin API, the configuration file is read at a start.

Without --config the built-in defaults serve: HTTP on 9080, the Admin API on 9180, both without TLS.

flags:
  --config FILE   the configuration file

exit codes:
  0  stopped by a signal
  1  the configuration is wrong, or something could not be opened; the reason is on standard error
  2  the command line is wrong`

func cmdRun(ctx context.Context, e *env, args []string) int {
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	path := fs.String("config", "", "")
	if code, done := parseFlags(e, "run", fs, args); done {
		return code
	}
	conf, _, ok := loadConfig(e, *path)
	if !ok {
		return exitError
	}
	logger, closeLog := newLogger(e, conf.Sluice.Log)
	defer closeLog()
	g := &gateway{conf: conf, env: e, logger: logger, traffic: limitLines(logger), signals: make(chan os.Signal, 4)}
	// Go ends a process that writes to standard error when whoever read it is gone.
	signal.Ignore(syscall.SIGPIPE)
	// From now on: one that comes during the start must not end the process either.
	signal.Notify(g.signals, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(g.signals)
	defer g.close()
	if err := g.start(ctx); err != nil {
		fmt.Fprintf(e.Stderr, "sluice: %v\n", err)
		return exitError
	}
	if err := g.wait(ctx); err != nil {
		fmt.Fprintf(e.Stderr, "sluice: %v\n", err)
		return exitError
	}
	return exitOK
}

// gateway is one running process: everything that start made, in the order in which close undoes it.
type gateway struct {
	conf   *config.Config
	env    *env
	logger *slog.Logger
	// traffic is logger for what requests and connections cause, which is limited.
	traffic *slog.Logger

	dataDir string
	store   *journal.Store
	plane   *l7.Plane
	streams *userspace.Plane // nil when proxy_mode has no stream
	steer   *steer.Steerer   // nil when nothing is steered
	sockets sockets          // the listeners by the names that sluice.l4.steer has for them
	ctl     *reconcile.Controller
	access  *accesslog.Log
	// streamAccess is the access log of stream routes, nil when it is off.
	streamAccess *accesslog.Log
	plugins      *pluginSet
	servers      []*server
	started      time.Time
	failed       chan error
	signals      chan os.Signal // those that do not end the process
	draining     atomic.Bool    // close has begun
}

// server is one of the gateway's own HTTP servers.
type server struct {
	what string
	http *http.Server
	ln   net.Listener
}

// available says whether this version can do what c, which is right, asks for.
func available(c *config.Config) error {
	if c.Deployment.Role != config.RoleTraditional {
		return fmt.Errorf("deployment.role: %s is not available yet: a node serves traffic and the Admin API together (traditional)", c.Deployment.Role)
	}
	if p := c.Deployment.ConfigProvider; p != "etcd" {
		return fmt.Errorf("deployment.role_traditional.config_provider: %s is not available yet: leave it out, and the resources are kept in sluice.data_dir", p)
	}
	return nil
}

func (g *gateway) start(ctx context.Context) (err error) {
	c := g.conf
	g.started, g.failed = time.Now(), make(chan error, 8)
	if err := available(c); err != nil {
		return err
	}
	if g.dataDir, err = config.DataDir(c, g.env.Getenv); err != nil {
		return err
	}
	if err := os.MkdirAll(g.dataDir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w: set sluice.data_dir or SLUICE_DATA_DIR to a directory that can be written", err)
	}
	if g.store, err = journal.Open(filepath.Join(g.dataDir, "store"), journal.Options{Logger: g.logger}); err != nil {
		return err
	}
	var unknown []string
	var attr map[string]json.RawMessage
	if g.plugins, unknown, attr, err = pluginsOf(c); err != nil {
		return err
	}
	if len(unknown) > 0 {
		g.logger.Warn("plugins are switched on that this build does not have", "plugins", strings.Join(unknown, ","))
	}
	var keyring *crypt.Keyring
	if c.APISIX.DataEncryption.EnableEncryptFields {
		var keys []string
		for _, k := range c.APISIX.DataEncryption.Keyring {
			keys = append(keys, k.Reveal())
		}
		if keyring, err = crypt.NewKeyring(keys); err != nil {
			return fmt.Errorf("apisix.data_encryption.keyring: %w", err)
		}
	}
	compiler := compile.New(compile.Options{Plugins: g.plugins, Env: g.env.Getenv, Keyring: keyring, Logger: g.logger,
		CheckVars:     func(doc json.RawMessage) error { _, err := expr.Compile(doc); return err },
		CheckProtocol: func(name string) error { return fmt.Errorf("unknown protocol [%s]", name) }})
	if err := g.startPlane(attr); err != nil {
		return err
	}
	planes := []reconcile.Plane{httpPlane{g.plane}}
	if c.APISIX.ProxyMode.Stream() {
		if err := g.startStreams(attr); err != nil {
			return err
		}
		planes = append(planes, streamPlane{g.streams})
	}
	g.ctl = reconcile.New(g.store, compiler, g.logger, planes...)
	if err := g.ctl.Start(ctx); err != nil {
		return err
	}
	for _, p := range g.ctl.Status().Problems {
		g.logger.Warn("object is not served as stored", "key", p.Key, "err", p.Err)
	}
	if err := g.listen(); err != nil {
		return err
	}
	g.plane.Start()
	if g.streams != nil {
		g.streams.Start()
	}
	if err := g.startSteering(); err != nil {
		return err
	}
	return g.serveAPIs(compiler, keyring)
}

func (g *gateway) startPlane(attr map[string]json.RawMessage) error {
	c := g.conf
	mode, err := route.ParseMode(c.APISIX.Router.HTTP)
	if err != nil {
		return err
	}
	l := c.Sluice.L7.Limits
	o := l7.Options{
		Engine: engine.Config{
			ServerHeader: c.Sluice.ServerHeader, RouterMode: mode, TrustedAddresses: c.APISIX.TrustedAddresses,
			ShowUpstreamStatus: c.APISIX.ShowUpstreamStatus, DeleteURITailSlash: c.APISIX.DeleteURITailSlash,
			NormalizeURILikeServlet: c.APISIX.NormalizeURILikeServlet, MatchURIEncodedSlash: c.APISIX.MatchURIEncodedSlash,
			Limits: h1.Limits{HeadBytes: int(l.HeaderBytes), Fields: l.HeaderFields, TargetBytes: int(l.TargetBytes),
				ChunkExtBytes: int(l.ChunkExtBytes), TrailerBytes: int(l.TrailerBytes)},
			MaxBufferedBody: l.BufferedBodyBytes,
			RealIP:          engine.RealIP{Header: c.Nginx.RealIPHeader, From: c.Nginx.RealIPFrom, Recursive: c.Nginx.RealIPRecursive},
		},
		Loop: loop.Config{HeaderTimeout: l.HeaderTimeout, BodyTimeout: l.BodyTimeout, WriteTimeout: l.WriteTimeout,
			IdleTimeout: l.IdleTimeout, KeepaliveRequests: keepaliveRequests(l),
			MaxConns: connectionsPerLoop(l.MaxConnections, c.Sluice.L7.Loops, openFiles()), MaxBody: l.BodyBytes},
		Loops: c.Sluice.L7.Loops, Upstream: g.upstreamOptions(), PluginAttr: attr, Logger: g.traffic,
	}
	if path := c.Sluice.AccessLog.File(g.dataDir); path != "" {
		a := c.Sluice.AccessLog
		g.access, err = accesslog.New(accesslog.Options{Path: path, Format: a.Format, Escape: a.Escape, BufferBytes: int(a.BufferBytes),
			FlushInterval: a.FlushInterval, Logger: g.logger})
		if err != nil {
			return err
		}
		o.Engine.AccessLog = func(loop int, ex *plugin.Exchange) { g.access.Write(loop, ex) }
	}
	g.plane, err = l7.New(o)
	return err
}

// upstreamOptions is how both planes resolve names.
func (g *gateway) upstreamOptions() upstream.Options {
	a := &g.conf.APISIX
	return upstream.Options{Resolver: upstream.ResolverOptions{Servers: a.DNSResolver, Valid: a.DNSResolverValid, Timeout: a.ResolverTimeout, IPv6: a.EnableIPv6,
		Search: a.EnableResolvSearch}}
}

// listen opens the proxy's ports before anything is told that the gateway runs.
func (g *gateway) listen() error {
	for _, a := range g.conf.APISIX.NodeListen {
		addrs := []string{a.String()}
		if a.IP == "" && !g.conf.APISIX.EnableIPv6 {
			a.IP = "0.0.0.0"
			addrs[0] = a.String()
		}
		for _, addr := range addrs {
			files, err := listen.Shards(addr, g.plane.Loops())
			if err != nil {
				return fmt.Errorf("apisix.node_listen: %w", err)
			}
			if err := g.plane.Listen(files); err != nil {
				return fmt.Errorf("apisix.node_listen: %w", err)
			}
			g.sockets.add("http", a.Port, files[0])
			g.logger.Info("listening", "what", "http", "addr", boundTo(files[0]))
		}
	}
	if g.streams == nil {
		return nil
	}
	return g.listenStreams()
}

// boundTo is the address that a listening socket really has, which matters when port 0 was asked for.
func boundTo(f *os.File) string {
	ln, err := net.FileListener(f)
	if err != nil {
		return ""
	}
	defer ln.Close()
	return ln.Addr().String()
}

func (g *gateway) serveAPIs(compiler *compile.Compiler, keyring *crypt.Keyring) error {
	c := g.conf
	status := statusapi.New(g.ctl, g.plugins, statusapi.Options{Version: buildVersion(), Counters: g.counters, Draining: g.draining.Load, Logger: g.logger})
	if c.APISIX.EnableControl {
		if err := g.serve("control API", c.APISIX.Control.String(), status.Control()); err != nil {
			return fmt.Errorf("apisix.control: %w", err)
		}
	}
	if a := c.APISIX.Status; a != nil {
		if err := g.serve("status", a.String(), status.Status()); err != nil {
			return fmt.Errorf("apisix.status: %w", err)
		}
	}
	if c.Prometheus.ExportServer {
		if err := g.serve("metrics", c.Prometheus.Listen.String(), g.metricsHandler()); err != nil {
			return fmt.Errorf("plugin_attr.prometheus.export_addr: %w", err)
		}
	}
	if c.APISIX.EnableAdmin {
		return g.serveAdmin(compiler, keyring)
	}
	return nil
}

func (g *gateway) serveAdmin(compiler *compile.Compiler, keyring *crypt.Keyring) error {
	c := g.conf
	keys, source, err := config.AdminKeys(c, g.dataDir, g.env.Getenv)
	if err != nil {
		return err
	}
	o := adminapi.Options{KeyRequired: c.Deployment.Admin.KeyRequired, AllowAdmin: c.Deployment.Admin.AllowAdmin, CORS: c.Deployment.Admin.EnableCORS,
		ServerHeader: c.Sluice.ServerHeader, BodyBytes: c.Sluice.Admin.BodyBytes, Keyring: keyring, StreamEnabled: c.APISIX.ProxyMode.Stream(),
		Version: c.Deployment.Admin.Version, NextID: g.store.NextID, Logger: g.logger}
	for _, k := range keys {
		o.Keys = append(o.Keys, adminapi.Key{Name: k.Name, Key: crypt.Secret(k.Key.Reveal()), Role: k.Role})
	}
	if err := g.serve("Admin API", c.Deployment.Admin.Listen.String(), adminapi.New(g.ctl, compiler, g.plugins, o)); err != nil {
		return fmt.Errorf("deployment.admin.admin_listen: %w", err)
	}
	switch {
	case !o.KeyRequired:
		g.logger.Warn("the Admin API takes requests without a key (deployment.admin.admin_key_required is false)")
	case source.Created:
		g.logger.Info("made a key for the Admin API", "file", source.File)
	case source.File != "":
		g.logger.Info("the key of the Admin API is in a file", "file", source.File)
	}
	return nil
}

// serve starts one of the gateway's own servers.
func (g *gateway) serve(what, addr string, h http.Handler) error {
	ln, err := listen.TCP(addr)
	if err != nil {
		return err
	}
	s := &server{what: what, http: adminapi.NewServer(h), ln: ln}
	s.http.ErrorLog = slog.NewLogLogger(g.logger.With("server", what).Handler(), slog.LevelWarn)
	g.servers = append(g.servers, s)
	g.logger.Info("listening", "what", what, "addr", ln.Addr().String())
	go func() {
		if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			g.failed <- fmt.Errorf("%s: %w", what, err)
		}
	}()
	return nil
}

// wait serves until a signal comes or one of the servers fails.
func (g *gateway) wait(ctx context.Context) error {
	g.logger.Info("ready", "data_dir", g.dataDir, "loops", g.plane.Loops(), "took", time.Since(g.started).Round(time.Millisecond))
	for {
		select {
		case <-ctx.Done():
			g.logger.Info("stopping", "timeout", g.conf.Sluice.ShutdownTimeout)
			return nil
		case err := <-g.failed:
			return err
		case s := <-g.signals:
			g.signalled(s)
		}
	}
}

func (g *gateway) signalled(s os.Signal) {
	if s != syscall.SIGUSR1 {
		g.logger.Warn("signal changes nothing: resources change through the Admin API, the configuration file is read at a start", "signal", s.String())
		return
	}
	for _, l := range []*accesslog.Log{g.access, g.streamAccess} {
		if l == nil {
			continue
		}
		if err := l.Reopen(); err != nil {
			g.logger.Error("reopen access log failed", "err", err)
		}
	}
}

// close undoes start, as far as that came.
func (g *gateway) close() {
	g.draining.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), g.conf.Sluice.ShutdownTimeout)
	defer cancel()
	for _, s := range g.servers {
		if s.what == "Admin API" {
			_ = s.http.Shutdown(ctx)
		}
	}
	streamsDone := make(chan error, 1)
	go func() {
		if g.streams == nil {
			streamsDone <- nil
			return
		}
		streamsDone <- g.streams.Close(ctx)
	}()
	if g.plane != nil {
		if err := g.plane.Close(ctx); err != nil {
			g.logger.Warn("connections were cut at shutdown", "err", err)
		}
	}
	if err := <-streamsDone; err != nil {
		g.logger.Warn("stream connections were cut at shutdown", "err", err)
	}
	for _, s := range g.servers {
		_ = s.http.Close()
	}
	if g.ctl != nil {
		if err := g.ctl.Close(); err != nil {
			g.logger.Error("close controller", "err", err)
		}
	}
	for _, l := range []*accesslog.Log{g.access, g.streamAccess} {
		if l == nil {
			continue
		}
		if err := l.Close(); err != nil {
			g.logger.Error("close access log", "err", err)
		}
	}
	if g.steer != nil {
		if err := g.steer.Close(); err != nil {
			g.logger.Error("close steering", "err", err)
		}
	}
	if g.store != nil {
		if err := g.store.Close(); err != nil {
			g.logger.Error("close store", "err", err)
		}
	}
}
