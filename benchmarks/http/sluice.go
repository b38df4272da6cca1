package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// startSluice runs `sluice run --config FILE` and writes the routes of the setup through the Admin API.
func startSluice(ctx context.Context, b bench, s setup, dir string) (*instance, error) {
	var ports sluicePorts
	for _, port := range []*int{&ports.proxy, &ports.admin, &ports.control, &ports.status, &ports.metrics} {
		var err error
		if *port, err = freePort(); err != nil {
			return nil, err
		}
	}
	conf := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(conf, []byte(sluiceConfig(dir, ports)), 0o600); err != nil {
		return nil, fmt.Errorf("write sluice configuration: %w", err)
	}
	p, err := b.machine.start("sluice", dir, b.machine.proxyCPU, false, b.tools.sluice, "run", "--config", conf)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*startTimeout)
	defer cancel()
	admin := adminClient{base: fmt.Sprintf("http://127.0.0.1:%d/apisix/admin/", ports.admin)}
	err = admin.wait(ctx, p)
	if err == nil {
		err = admin.putAll(ctx, sluiceResources(s, b.upstream))
	}
	if err != nil {
		p.stop()
		return nil, err
	}
	return &instance{p, ports.proxy}, nil
}

// adminClient writes resources through an Admin API.
type adminClient struct {
	base string
}

// wait returns when the Admin API answers, or when the program ends or ctx does.
func (a adminClient) wait(ctx context.Context, p *process) error {
	for {
		status, body, err := a.do(ctx, http.MethodGet, "routes", "")
		if err == nil && status == http.StatusOK {
			return nil
		}
		if err == nil && status == http.StatusUnauthorized {
			return fmt.Errorf("admin API refuses the configured key: %s", body)
		}
		if !p.alive() {
			return p.failure("ended at start")
		}
		if ctx.Err() != nil {
			return p.failure(fmt.Sprintf("has no admin API: status %d, error %v", status, err))
		}
		// Waiting for a foreign program to listen: nothing announces it.
		time.Sleep(20 * time.Millisecond)
	}
}

func (a adminClient) putAll(ctx context.Context, resources []resource) error {
	for _, r := range resources {
		status, body, err := a.do(ctx, http.MethodPut, r.path, r.body)
		if err != nil {
			return fmt.Errorf("put %s: %w", r.path, err)
		}
		if status != http.StatusOK && status != http.StatusCreated {
			return fmt.Errorf("put %s: status %d: %s", r.path, status, body)
		}
	}
	return nil
}

func (a adminClient) do(ctx context.Context, method, path, body string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("X-API-KEY", adminKey)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 8<<20))
	if err != nil {
		return 0, "", fmt.Errorf("read answer: %w", err)
	}
	return res.StatusCode, strings.TrimSpace(string(text)), nil
}
