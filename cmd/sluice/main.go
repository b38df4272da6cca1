// Command sluice is an API gateway that speaks Apache APISIX's contract. This package is the only place where
// the control plane and the data planes meet: it reads the static configuration, wires the parts by hand and
// runs them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/sluice-gateway/sluice/control/config"
)

// The exit codes of every command.
const (
	exitOK    = 0
	exitError = 1 // the configuration is wrong, or what was asked for failed
	exitUsage = 2 // the command line is wrong
)

// env is everything that a command may touch of its process, so that tests need none.
type env struct {
	Args   []string // without the program name
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Getenv func(string) (string, bool) // os.LookupEnv
}

// command is one subcommand. Its run takes the arguments after the name and returns the exit code.
type command struct {
	name    string
	summary string // one line for the list of commands
	usage   string // the whole help of the command, without a newline at its end
	run     func(ctx context.Context, e *env, args []string) int
}

// commands is the dispatch table, in the order in which help lists it.
func commands() []command {
	return []command{
		{"run", "start the gateway", runUsage, cmdRun},
		{"status", "ask the running gateway how it is", statusUsage, cmdStatus},
		{"l4", "look at or remove what is in the kernel", l4Usage, cmdL4},
		{"check", "check a configuration without starting anything", checkUsage, cmdCheck},
		{"version", "print the version, the Go release and the commit", versionUsage, cmdVersion},
		{"help", "print this text, or the help of a command", helpUsage, cmdHelp},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	// A second signal ends the process at once, as without a handler.
	context.AfterFunc(ctx, stop)
	os.Exit(dispatch(ctx, &env{os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.LookupEnv}))
}

// dispatch runs the command that the arguments name.
func dispatch(ctx context.Context, e *env) int {
	if len(e.Args) == 0 {
		fmt.Fprint(e.Stderr, help())
		return exitUsage
	}
	name, args := e.Args[0], e.Args[1:]
	switch name {
	case "-h", "-help", "--help":
		name = "help"
	case "-v", "-version", "--version":
		name = "version"
	}
	if c, ok := find(name); ok {
		return c.run(ctx, e, args)
	}
	return unknownCommand(e, name)
}

func find(name string) (command, bool) {
	for _, c := range commands() {
		if c.name == name {
			return c, true
		}
	}
	return command{}, false
}

func unknownCommand(e *env, name string) int {
	var names []string
	for _, c := range commands() {
		names = append(names, c.name)
	}
	hint := "see sluice --help"
	if near := config.Nearest(name, names); near != "" {
		hint = "did you mean " + near + "?"
	}
	fmt.Fprintf(e.Stderr, "sluice: unknown command %q: %s\n", name, hint)
	return exitUsage
}

// parseFlags parses the arguments of a command that takes no operands. When done is true the command is over
// with the exit code: help was asked for, or the arguments are wrong.
func parseFlags(e *env, c string, fs *flag.FlagSet, args []string) (code int, done bool) {
	fs.SetOutput(io.Discard) // messages are ours, with the name of the command
	err := fs.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return cmdHelp(context.Background(), e, []string{c}), true
	}
	if err == nil && fs.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if err != nil {
		fmt.Fprintf(e.Stderr, "sluice %s: %v: see sluice help %s\n", c, err, c)
		return exitUsage, true
	}
	return exitOK, false
}

const helpUsage = `usage: sluice help [COMMAND]

Print what sluice is and does, or the help of one command.`

func cmdHelp(_ context.Context, e *env, args []string) int {
	if len(args) == 0 {
		fmt.Fprint(e.Stdout, help())
		return exitOK
	}
	c, ok := find(args[0])
	if !ok {
		return unknownCommand(e, args[0])
	}
	fmt.Fprintln(e.Stdout, c.usage)
	return exitOK
}

// help is the whole text of sluice --help.
func help() string {
	var list strings.Builder
	for _, c := range commands() {
		fmt.Fprintf(&list, "  %-9s %s\n", c.name, c.summary)
	}
	return fmt.Sprintf(helpText, list.String())
}

const helpText = `sluice - an API gateway that speaks Apache APISIX's contract

Sluice takes APISIX's Admin API, resources, plugin names and config.yaml, so that routes, scripts and tools
made for APISIX work unchanged. It is one program: no NGINX, no Lua, and no etcd to run beside it.

usage: sluice COMMAND [FLAGS]

commands:
%s
  sluice help COMMAND describes one of them.

files:
  config.yaml          the static configuration, in the shape of APISIX's conf/config.yaml; name it with
                       --config. Without it built-in defaults serve. What is Sluice's own is under the key
                       sluice. A change takes effect with the next start.
  DATA/                routes, consumers and everything else that the Admin API accepts. DATA is
                       sluice.data_dir: by default /var/lib/sluice for root, otherwise
                       $XDG_STATE_HOME/sluice or ~/.local/state/sluice.
  DATA/admin_key       the key of the Admin API, made at the first start when config.yaml has none
  DATA/logs/access.log the access log, unless sluice.access_log.path says otherwise

environment:
  SLUICE_DATA_DIR          overrides sluice.data_dir
  SLUICE_ADMIN_KEY         overrides every configured admin key
  APISIX_WORKER_PROCESSES  the number of event loops, unless sluice.l7.loops is set
  Any other variable can stand in config.yaml as ${{NAME}} or ${{NAME:=default}}.

ports (defaults, TCP):
  9080  HTTP                       apisix.node_listen
  9443  HTTPS                      apisix.ssl.listen
  9180  Admin API                  deployment.admin.admin_listen, for clients in deployment.admin.allow_admin
  9090  control API, loopback      apisix.control
  9091  metrics, loopback          plugin_attr.prometheus.export_addr
  7085  health, loopback           apisix.status, off unless configured

exit codes:
  0  success; also a clean stop after SIGINT, SIGTERM or SIGQUIT
  1  the configuration is wrong, or what was asked for failed
  2  the command line is wrong

examples:
  sluice check --config config.yaml       is this file right?
  sluice run                              start with the defaults
  sluice run --config config.yaml         start with a file
  curl http://127.0.0.1:9180/apisix/admin/routes/1 -X PUT \
       -H "X-API-KEY: $(cat ~/.local/state/sluice/admin_key)" \
       -d '{"uri": "/get", "upstream": {"type": "roundrobin", "nodes": {"127.0.0.1:8080": 1}}}'
  curl http://127.0.0.1:9080/get
`
