package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// The native programs travel inside the binary, so that it works from any folder.
//
//go:embed upstream.c floor.c load.c busy.c
var sources embed.FS

// tools are the paths of all programs that a benchmark needs.
type tools struct {
	upstream, floor, load, busy string
	nginx, haproxy, wrk         string // "" when not asked for
	sluice                      string
}

// buildTools compiles the native programs and Sluice into dir and finds the others.
func buildTools(ctx context.Context, dir string, opts options) (tools, error) {
	var t tools
	var missing []error
	find := func(name string) string {
		// Debian keeps servers in sbin, which is not in every user's PATH.
		for _, try := range []string{name, "/usr/sbin/" + name} {
			if path, err := exec.LookPath(try); err == nil {
				return path
			}
		}
		missing = append(missing, fmt.Errorf("%s is not installed; run scripts/install-test-deps", name))
		return ""
	}
	gcc := find("gcc")
	if slices.Contains(opts.contenders, "nginx") {
		t.nginx = find("nginx")
	}
	if slices.Contains(opts.contenders, "haproxy") {
		t.haproxy = find("haproxy")
	}
	if opts.wrk {
		t.wrk = find("wrk")
	}
	if len(missing) > 0 {
		return t, errors.Join(missing...)
	}
	for name, path := range map[string]*string{
		"upstream": &t.upstream, "floor": &t.floor, "load": &t.load, "busy": &t.busy,
	} {
		source, err := sources.ReadFile(name + ".c")
		if err != nil {
			return t, fmt.Errorf("read source of %s: %w", name, err)
		}
		*path = filepath.Join(dir, name)
		if err := os.WriteFile(*path+".c", source, 0o644); err != nil {
			return t, fmt.Errorf("write source of %s: %w", name, err)
		}
		if err := command(ctx, gcc, "-O2", "-Wall", "-Wextra", "-o", *path, *path+".c"); err != nil {
			return t, fmt.Errorf("compile %s: %w", name, err)
		}
	}
	if !slices.Contains(opts.contenders, "sluice") {
		return t, nil
	}
	if opts.sluice != "" {
		path, err := exec.LookPath(opts.sluice)
		if err != nil {
			return t, fmt.Errorf("find sluice: %w", err)
		}
		if t.sluice, err = filepath.Abs(path); err != nil {
			return t, fmt.Errorf("find sluice: %w", err)
		}
		return t, nil
	}
	t.sluice = filepath.Join(dir, "sluice")
	if err := command(ctx, "go", "build", "-o", t.sluice, "./cmd/sluice"); err != nil {
		return t, fmt.Errorf("build sluice (run from the repository root, or give -sluice, or leave it out with -contenders): %w", err)
	}
	return t, nil
}

// command runs a program and turns its output into the error when it fails.
func command(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %.2000s", filepath.Base(name), err, bytes.TrimSpace(out))
	}
	return nil
}
