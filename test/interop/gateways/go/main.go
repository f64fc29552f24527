// A service behind a gateway: answers with who calls, as the gateway says.
package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	panic(http.Serve(listener, http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		said := map[string][]string{}
		for _, name := range []string{"Kind", "Subject", "Client", "Issuer"} {
			said[name] = []string{}
			for _, value := range request.Header.Values("X-Principal-" + name) {
				plain, err := url.PathUnescape(value)
				if err != nil {
					http.Error(response, "malformed", http.StatusBadRequest)
					return
				}
				said[name] = append(said[name], plain)
			}
		}
		_ = json.NewEncoder(response).Encode(said)
	})))
}
