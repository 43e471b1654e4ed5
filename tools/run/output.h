// The ranks' output, line by line, into the launcher's own: a line is never cut by another rank's.
// Thread rule: single-threaded. Nothing here blocks: a reader that is slow holds back the ranks
// (their pipes fill), never the launcher.
#pragma once

#include <cstddef>
#include <deque>
#include <string>

#include "src/base/handle.h"

namespace weft::run {

// The launcher's standard output or error, with what waits to go there.
class Sink {
  public:
    explicit Sink(int fd) : fd_(fd) {}
    int fd() const { return fd_; }
    void push(const std::string& text);
    bool empty() const { return sent_ == queue_.size(); }
    bool full() const { return queue_.size() - sent_ > 1 << 20; }
    bool broken() const { return broken_; }  // nobody reads; everything is dropped from then on
    void write_some();                       // call when poll() says it is writable

  private:
    int fd_;
    std::string queue_;
    size_t sent_ = 0;
    bool broken_ = false;
};

// One output of one rank.
class Stream {
  public:
    Stream(Fd fd, std::string prefix, Sink* sink)
        : fd_(std::move(fd)), prefix_(std::move(prefix)), sink_(sink) {}
    int fd() const { return fd_.get(); }
    bool open() const { return static_cast<bool>(fd_); }
    Sink* sink() const { return sink_; }
    const std::deque<std::string>& tail() const { return tail_; }  // its last lines
    void read_some();  // what is there now; at the end of file also an unfinished last line
    void close();

  private:
    void take(const char* data, size_t size);
    void emit(const std::string& line);

    Fd fd_;
    std::string prefix_;
    Sink* sink_;  // the supervisor's, outlives this
    std::string partial_;
    std::deque<std::string> tail_;
};

}  // namespace weft::run
