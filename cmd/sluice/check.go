package main

import (
	"context"
	"errors"
	"flag"
	"fmt"

	"github.com/sluice-gateway/sluice/control/config"
)

const checkUsage = `usage: sluice check [--config FILE]

Read the static configuration as a start would and print every error and warning with its file, line and
field, one a line, on standard error. Nothing is started, written or listened on. Without --config the
built-in defaults and the environment are checked.

flags:
  --config FILE   the configuration file

exit codes:
  0  the configuration is right, warnings or not
  1  it has errors, or the file cannot be read
  2  the command line is wrong`

func cmdCheck(_ context.Context, e *env, args []string) int {
	fs := flag.NewFlagSet("check", flag.ContinueOnError)
	path := fs.String("config", "", "")
	if code, done := parseFlags(e, "check", fs, args); done {
		return code
	}
	conf, warnings, ok := loadConfig(e, *path)
	if !ok {
		return exitError
	}
	name := *path
	if name == "" {
		name = "built-in defaults"
	}
	_, unknown, _, err := pluginsOf(conf)
	if err = errors.Join(available(conf), err); err != nil {
		fmt.Fprintf(e.Stderr, "%s: %v\n", name, err)
		return exitError
	}
	for _, plugin := range unknown {
		fmt.Fprintf(e.Stderr, "%s: plugins: %s is none of this build's plugins, ignored (warning)\n", name, plugin)
	}
	warnings += len(unknown)
	fmt.Fprintf(e.Stdout, "%s: ok%s\n", name, countWarnings(warnings))
	return exitOK
}

// loadConfig reads the static configuration and prints its errors and warnings; ok is false after errors.
func loadConfig(e *env, path string) (c *config.Config, warnings int, ok bool) {
	c, warns, err := config.Load(path, e.Getenv)
	for _, w := range warns {
		fmt.Fprintf(e.Stderr, "%s (warning)\n", w)
	}
	if err == nil {
		return c, len(warns), true
	}
	errs := []error{err}
	if joined, many := err.(interface{ Unwrap() []error }); many {
		errs = joined.Unwrap()
	}
	for _, err := range errs {
		fmt.Fprintln(e.Stderr, err)
	}
	return nil, len(warns), false
}

func countWarnings(n int) string {
	switch n {
	case 0:
		return ""
	case 1:
		return ", 1 warning"
	}
	return fmt.Sprintf(", %d warnings", n)
}
