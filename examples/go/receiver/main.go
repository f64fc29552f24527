// Receives calls, and tells customers from services by introspection at the broker.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// judgement is what the broker says about a token.
type judgement struct {
	Active   bool   `json:"active"`
	Kind     string `json:"kind"` // "customer" or "service"
	Subject  string `json:"sub"`
	ClientID string `json:"client_id"`
	Issuer   string `json:"iss"`
	Expires  int64  `json:"exp"`
}

const (
	keep = time.Minute // how long a judgement is kept
	most = 10_000      // and how many
)

// broker introspects tokens, and keeps the judgement of those that are accepted.
type broker struct {
	url, audience string
	peer, secret  string // a peer with the role "introspect"
	client        http.Client

	mutex sync.Mutex
	kept  map[[sha256.Size]byte]kept
}

type kept struct {
	judgement
	until time.Time
}

// judge says what a token is. An error means that nobody knows at the moment.
func (b *broker) judge(ctx context.Context, token string) (judgement, error) {
	key, now := sha256.Sum256([]byte(token)), time.Now()
	b.mutex.Lock()
	known, found := b.kept[key]
	b.mutex.Unlock()
	if found && now.Before(known.until) {
		return known.judgement, nil
	}
	form := url.Values{"token": {token}, "audience": {b.audience}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url+"/oauth2/introspect", strings.NewReader(form.Encode()))
	if err != nil {
		return judgement{}, err
	}
	request.SetBasicAuth(b.peer, b.secret)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := b.client.Do(request)
	if err != nil {
		return judgement{}, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return judgement{}, errors.New("the broker answers " + response.Status)
	}
	var said judgement
	if err := json.NewDecoder(response.Body).Decode(&said); err != nil {
		return judgement{}, err
	}
	if said.Active {
		until := now.Add(keep)
		if end := time.Unix(said.Expires, 0); end.Before(until) {
			until = end
		}
		b.mutex.Lock()
		if len(b.kept) >= most {
			clear(b.kept)
		}
		b.kept[key] = kept{said, until}
		b.mutex.Unlock()
	}
	return said, nil
}

// allow lets callers of one kind in.
func (b *broker) allow(kind string, handle func(http.ResponseWriter, *http.Request, judgement)) http.HandlerFunc {
	return func(response http.ResponseWriter, request *http.Request) {
		scheme, token, _ := strings.Cut(request.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") || token == "" || len(request.Header.Values("Authorization")) > 1 {
			response.Header().Set("WWW-Authenticate", "Bearer")
			response.WriteHeader(http.StatusUnauthorized)
			return
		}
		caller, err := b.judge(request.Context(), token)
		switch {
		case err != nil:
			// Never 401: the token may be right.
			fmt.Fprintln(os.Stderr, err)
			response.Header().Set("Retry-After", "1")
			response.WriteHeader(http.StatusServiceUnavailable)
		case !caller.Active:
			response.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			response.WriteHeader(http.StatusUnauthorized)
		case caller.Kind != kind:
			response.WriteHeader(http.StatusForbidden)
		default:
			handle(response, request, caller)
		}
	}
}

func main() {
	b := &broker{
		url:      os.Getenv("BROKER_URL"),
		audience: os.Getenv("AUDIENCE"),
		peer:     os.Getenv("BROKER_CLIENT_ID"),
		secret:   os.Getenv("BROKER_CLIENT_SECRET"),
		client:   http.Client{Timeout: 5 * time.Second},
		kept:     map[[sha256.Size]byte]kept{},
	}
	greet := func(response http.ResponseWriter, _ *http.Request, caller judgement) {
		fmt.Fprintf(response, "hello, %s %s\n", caller.Kind, caller.Subject)
	}
	http.HandleFunc("POST /settlement", b.allow("service", greet))
	http.HandleFunc("GET /invoices", b.allow("customer", greet))
	listener, err := net.Listen("tcp", os.Getenv("LISTEN"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(listener.Addr())
	fmt.Fprintln(os.Stderr, http.Serve(listener, nil))
	os.Exit(1)
}
