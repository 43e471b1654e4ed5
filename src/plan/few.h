// A list that holds its first few elements inside itself: a plan has tens of thousands of steps,
// and nearly all of them name one or two operands. Thread rule: values.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <type_traits>

namespace weft::plan {

template <class T, uint32_t inside>
class Few {
    static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

  public:
    Few() {}
    Few(std::initializer_list<T> list) { assign(list.begin(), list.size()); }
    Few(const Few& other) { assign(other.data(), other.size()); }
    Few(Few&& other) noexcept { take(other); }
    Few& operator=(const Few& other) {
        if (this != &other) {
            size_ = 0;
            assign(other.data(), other.size());
        }
        return *this;
    }
    Few& operator=(Few&& other) noexcept {
        if (this != &other) {
            drop();
            take(other);
        }
        return *this;
    }
    ~Few() { drop(); }

    size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    T* data() { return room_ > inside ? outside_ : own_; }
    const T* data() const { return room_ > inside ? outside_ : own_; }
    T* begin() { return data(); }
    T* end() { return data() + size_; }
    const T* begin() const { return data(); }
    const T* end() const { return data() + size_; }
    T& operator[](size_t at) { return data()[at]; }
    const T& operator[](size_t at) const { return data()[at]; }

    void push_back(const T& value) {
        const T kept = value;  // it may lie in here
        if (size_ == room_) {
            grow(room_ * 2);
        }
        data()[size_++] = kept;
    }
    void pop_back() { size_--; }
    void clear() { size_ = 0; }
    void reserve(size_t count) {
        if (count > room_) {
            grow(static_cast<uint32_t>(count));
        }
    }
    bool operator==(const Few& other) const {
        return size_ == other.size_ && std::equal(begin(), end(), other.begin());
    }

  private:
    void assign(const T* from, size_t count) {
        reserve(count);
        std::copy_n(from, count, data());
        size_ = static_cast<uint32_t>(count);
    }
    void grow(uint32_t room) {
        T* more = new T[room];
        std::copy_n(data(), size_, more);
        drop();
        outside_ = more;
        room_ = room;
    }
    void take(Few& other) {
        size_ = other.size_;
        room_ = other.room_;
        if (room_ > inside) {
            outside_ = other.outside_;
            other.room_ = inside;
        } else {
            std::copy_n(other.own_, size_, own_);
        }
        other.size_ = 0;
    }
    void drop() {
        if (room_ > inside) {
            delete[] outside_;
        }
        room_ = inside;
    }

    uint32_t size_ = 0, room_ = inside;
    union {
        T own_[inside];
        T* outside_;
    };
};

}  // namespace weft::plan
