package plugin

import "time"

var epoch = time.Now()

// Clock is monotonic time in nanoseconds since the process began.
func Clock() int64 { return int64(time.Since(epoch)) }

// ClockAt is Clock at a time that time.Now returned.
func ClockAt(t time.Time) int64 { return int64(t.Sub(epoch)) }
