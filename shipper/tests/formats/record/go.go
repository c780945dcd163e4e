// Writes what Go's log, slog and glog write: `go run . DIR`.
package main

import (
	"flag"
	"io"
	"log"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/golang/glog"
)

func create(name string) io.Writer {
	file, err := os.Create(filepath.Join(os.Args[1], name))
	if err != nil {
		log.Fatal(err)
	}
	return file
}

func main() {
	log.SetOutput(create("go.log"))
	log.SetFlags(log.LstdFlags | log.Lmicroseconds)
	log.Println("sentinel_service listening on :8001")
	log.Println("http: panic serving 127.0.0.1:4711: runtime error\ngoroutine 1 [running]:\nmain.main()")
	log.Println("bdb:7 resolved")

	level := &slog.HandlerOptions{Level: slog.LevelDebug}
	for name, handler := range map[string]slog.Handler{
		"logfmt-slog.log": slog.NewTextHandler(create("logfmt-slog.log"), level),
		"json-slog.log":   slog.NewJSONHandler(create("json-slog.log"), level),
	} {
		logger := slog.New(handler)
		logger.Debug("starting", "file", name)
		logger.Info("request", "path", "/v1/bdbs/7", "status", 200)
		logger.Warn("slow", "took", "1.5s", "level2", "x y")
		logger.Error("failed", "error", "connection \"refused\"")
	}

	stderr := os.Stderr
	os.Stderr = create("glog.log").(*os.File)
	flag.CommandLine.Parse(nil)
	flag.Set("logtostderr", "true")
	glog.Info("starting")
	glog.Warning("bdb:7 is slow")
	glog.Error("failed:\n  connection refused")
	glog.Flush()
	os.Stderr = stderr
}
