package engine

import (
	"strconv"
	"sync"

	"github.com/sluice-gateway/sluice/l7/h1"
)

// nginxReasons are the phrases of nginx's error pages where they differ from the standard ones.
var nginxReasons = map[int]string{
	302: "Found", 307: "Temporary Redirect", 308: "Permanent Redirect",
	400: "Bad Request", 401: "Authorization Required", 405: "Not Allowed", 408: "Request Time-out",
	409: "Conflict", 413: "Request Entity Too Large", 414: "Request-URI Too Large", 416: "Requested Range Not Satisfiable",
	431: "Request Header Or Cookie Too Large", 503: "Service Temporarily Unavailable", 504: "Gateway Time-out",
	505: "HTTP Version Not Supported", 507: "Insufficient Storage",
}

var errorPages sync.Map // int -> []byte

// errorPage is the small HTML page that OpenResty sends when an error has no body of its own; clients and tests of APISIX match on it.
func errorPage(status int) []byte {
	if p, ok := errorPages.Load(status); ok {
		return p.([]byte)
	}
	reason := nginxReasons[status]
	if reason == "" {
		reason = h1.StatusText(status)
	}
	title := strconv.Itoa(status)
	if reason != "" {
		title += " " + reason
	}
	page := []byte("<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n<center><h1>" + title +
		"</h1></center>\r\n<hr><center>openresty</center>\r\n</body>\r\n</html>\r\n")
	if status >= 300 && status <= 599 {
		errorPages.Store(status, page)
	}
	return page
}
