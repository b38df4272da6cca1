package plugin

import (
	"bytes"
	"encoding/json"
	"net/http"
)

// Reply is an answer that the gateway itself gives.
type Reply struct {
	// Status is the HTTP status code.
	Status int
	// Body is sent as it is. Nil with a status of 300 or more means nginx's plain error page, as OpenResty sends it.
	Body []byte
	// ContentType is the Content-Type; empty means "text/plain; charset=utf-8" with a Body and "text/html; charset=utf-8" with the error page.
	ContentType string
	// Header is added to the response.
	Header []Field
}

// Exit is a reply with a verbatim body (nil for the plain error page).
func Exit(status int, body []byte) *Reply { return &Reply{Status: status, Body: body} }

// JSON is a reply whose body is v in JSON and a line feed, as APISIX's core.response.exit writes tables: "<", ">" and "&" stand as they are.
func JSON(status int, v any) *Reply {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil {
		return &Reply{Status: http.StatusInternalServerError}
	}
	return &Reply{Status: status, Body: b.Bytes()}
}

// Message is the reply {"message": text}.
func Message(status int, text string) *Reply {
	return JSON(status, struct {
		Message string `json:"message"`
	}{text})
}

// ErrorMsg is the reply {"error_msg": text}.
func ErrorMsg(status int, text string) *Reply {
	return JSON(status, struct {
		ErrorMsg string `json:"error_msg"`
	}{text})
}
