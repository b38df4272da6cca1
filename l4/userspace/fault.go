package userspace

import (
	"errors"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

// warnInterval is how often a route whose nodes cannot be reached is reported; every case is counted.
const warnInterval = 10 * time.Second

// local tells whether a connection could not be made for want of something here, which says nothing about the node.
func local(err error) bool {
	for _, e := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// unreachable counts a connection or session for which there was no node.
func (p *Plane) unreachable(r *route, err error) {
	p.refuse(ReasonUpstream, r.def.ID, err)
	if now := plugin.Clock(); r.mayWarn(now) {
		p.o.Logger.Warn("no node could be reached", "route_id", r.def.ID, "err", err)
	}
}

// mayWarn is true once in warnInterval.
func (r *route) mayWarn(now int64) bool {
	last := r.warned.Load()
	return (last == 0 || now-last >= int64(warnInterval)) && r.warned.CompareAndSwap(last, now)
}
