package main

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

const versionUsage = `usage: sluice version

Print the version of sluice, the release of APISIX whose contract it speaks, the Go release and platform it
was built with and for, and the commit it was built from.`

// contractVersion is the APISIX release whose Admin API, resources and plugins Sluice speaks.
const contractVersion = "3.18.0"

func cmdVersion(_ context.Context, e *env, args []string) int {
	if code, done := parseFlags(e, "version", flag.NewFlagSet("version", flag.ContinueOnError), args); done {
		return code
	}
	info, _ := debug.ReadBuildInfo()
	fmt.Fprint(e.Stdout, versionText(info))
	return exitOK
}

// buildVersion is the version of this build, "devel" outside of a release.
func buildVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

// versionText describes a build; info is nil in a binary without build information.
func versionText(info *debug.BuildInfo) string {
	version, commit, changed := "devel", "", false
	if info != nil {
		if v := info.Main.Version; v != "" && v != "(devel)" {
			version = v
		}
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				commit = s.Value
			case "vcs.modified":
				changed = s.Value == "true"
			}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "sluice %s\n", version)
	fmt.Fprintf(&b, "contract: APISIX %s\n", contractVersion)
	fmt.Fprintf(&b, "go: %s %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if commit == "" {
		commit = "unknown"
	}
	if changed {
		commit += " (with uncommitted changes)"
	}
	fmt.Fprintf(&b, "commit: %s\n", commit)
	return b.String()
}
