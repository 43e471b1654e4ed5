#include "tools/run/output.h"

#include <limits.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace weft::run {

namespace {

constexpr size_t tail_lines = 5;
constexpr size_t line_bytes_max = 1 << 20;  // a longer "line" is handed on in pieces

}  // namespace

void Sink::push(const std::string& text) {
    if (!broken_) {
        queue_ += text;
    }
}

// PIPE_BUF bytes at most: so much a writable pipe takes without blocking.
void Sink::write_some() {
    const size_t size = std::min<size_t>(queue_.size() - sent_, PIPE_BUF);
    const ssize_t wrote = ::write(fd_, queue_.data() + sent_, size);
    if (wrote >= 0) {
        sent_ += static_cast<size_t>(wrote);
    } else if (errno != EINTR && errno != EAGAIN) {
        broken_ = true;
        sent_ = queue_.size();
    }
    if (sent_ == queue_.size() || sent_ > line_bytes_max) {
        queue_.erase(0, sent_);
        sent_ = 0;
    }
}

void Stream::read_some() {
    char buffer[65536];
    const ssize_t got = ::read(fd_.get(), buffer, sizeof buffer);
    if (got > 0) {
        take(buffer, static_cast<size_t>(got));
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
        close();
    }
}

void Stream::take(const char* data, size_t size) {
    const char* end = data + size;
    while (data != end) {
        const char* newline = std::find(data, end, '\n');
        partial_.append(data, newline);
        data = newline == end ? end : newline + 1;
        if (newline != end || partial_.size() > line_bytes_max) {
            emit(partial_);
            partial_.clear();
        }
    }
}

void Stream::emit(const std::string& line) {
    sink_->push(prefix_ + line + '\n');
    tail_.push_back(line);
    if (tail_.size() > tail_lines) {
        tail_.pop_front();
    }
}

void Stream::close() {
    if (!partial_.empty()) {
        emit(partial_);
        partial_.clear();
    }
    fd_.reset();
}

}  // namespace weft::run
