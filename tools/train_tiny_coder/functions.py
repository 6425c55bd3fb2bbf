"""The bank of small Python functions of the corpus.

Each entry: name, parameters, what it does, body, call. A body line that starts with `##` is the comment for the line below it.
In calls {i} is a small integer, {j} another one, {w} a word, {v} another word, {l} a list of integers, {t} a list of words.
"""

BANK = [tuple(entry) for entry in [
  ("add", "a, b", "adds two numbers", "## Return the sum of both numbers.\nreturn a + b", "{i}, {j}"),
  ("subtract", "a, b", "subtracts the second number from the first", "## Return the difference.\nreturn a - b", "{i}, {j}"),
  ("multiply", "a, b", "multiplies two numbers", "## Return the product of both numbers.\nreturn a * b", "{i}, {j}"),
  ("divide", "a, b", "divides two numbers", "## A division by zero has no result.\nif b == 0:\n    return None\nreturn a / b", "{i}, {j}"),
  ("square", "n", "squares a number", "## Multiply the number by itself.\nreturn n * n", "{i}"),
  ("cube", "n", "computes the cube of a number", "return n ** 3", "{i}"),
  ("average", "numbers", "computes the average of a list", "## An empty list has no average.\nif not numbers:\n    return 0\nreturn sum(numbers) / len(numbers)", "{l}"),
  ("factorial", "n", "computes the factorial of a number", "## Start with one and multiply up to n.\nresult = 1\nfor i in range(2, n + 1):\n    result *= i\nreturn result", "{i}"),
  ("fibonacci", "n", "returns the nth Fibonacci number", "## Keep the last two numbers.\na, b = 0, 1\nfor _ in range(n):\n    a, b = b, a + b\nreturn a", "{i}"),
  ("is_prime", "n", "checks whether a number is prime", "## Numbers below two are not prime.\nif n < 2:\n    return False\n## Try all possible divisors up to the square root.\nfor i in range(2, int(n ** 0.5) + 1):\n    if n % i == 0:\n        return False\nreturn True", "{i}"),
  ("is_even", "n", "checks whether a number is even", "return n % 2 == 0", "{i}"),
  ("is_odd", "n", "checks whether a number is odd", "return n % 2 == 1", "{i}"),
  ("reverse_string", "text", "reverses a string", "## A slice with step -1 walks backwards.\nreturn text[::-1]", '"{w}"'),
  ("is_palindrome", "text", "checks whether a string is a palindrome", "## Ignore the case of the letters.\ntext = text.lower()\nreturn text == text[::-1]", '"{w}"'),
  ("count_vowels", "text", "counts the vowels in a string", "count = 0\nfor letter in text.lower():\n    ## Count only vowels.\n    if letter in \"aeiou\":\n        count += 1\nreturn count", '"{w}"'),
  ("count_words", "text", "counts the words in a text", "## Split the text at spaces.\nreturn len(text.split())", '"{w} {v}"'),
  ("to_upper", "text", "converts a string to upper case", "return text.upper()", '"{w}"'),
  ("to_lower", "text", "converts a string to lower case", "return text.lower()", '"{w}"'),
  ("greet", "name", "greets a person by name", "## Build the greeting.\nreturn \"Hello, \" + name + \"!\"", '"{w}"'),
  ("maximum", "numbers", "finds the largest number in a list", "## Start with the first number.\nresult = numbers[0]\nfor number in numbers:\n    if number > result:\n        result = number\nreturn result", "{l}"),
  ("minimum", "numbers", "finds the smallest number in a list", "## Start with the first number.\nresult = numbers[0]\nfor number in numbers:\n    if number < result:\n        result = number\nreturn result", "{l}"),
  ("total", "numbers", "sums the numbers in a list", "result = 0\nfor number in numbers:\n    ## Add each number to the result.\n    result += number\nreturn result", "{l}"),
  ("sort_numbers", "numbers", "sorts a list of numbers", "## The built-in function returns a new list.\nreturn sorted(numbers)", "{l}"),
  ("bubble_sort", "numbers", "sorts a list with bubble sort", "numbers = list(numbers)\nfor i in range(len(numbers)):\n    for j in range(len(numbers) - 1 - i):\n        ## Swap neighbours that are in the wrong order.\n        if numbers[j] > numbers[j + 1]:\n            numbers[j], numbers[j + 1] = numbers[j + 1], numbers[j]\nreturn numbers", "{l}"),
  ("binary_search", "numbers, target", "searches a sorted list", "low, high = 0, len(numbers) - 1\nwhile low <= high:\n    ## Look at the middle of the range.\n    middle = (low + high) // 2\n    if numbers[middle] == target:\n        return middle\n    if numbers[middle] < target:\n        low = middle + 1\n    else:\n        high = middle - 1\nreturn -1", "[1, 3, 5, 7, 9], {i}"),
  ("unique", "items", "removes duplicates from a list", "result = []\nfor item in items:\n    ## Keep only items that are new.\n    if item not in result:\n        result.append(item)\nreturn result", "{l}"),
  ("reverse_list", "items", "reverses a list", "return items[::-1]", "{l}"),
  ("gcd", "a, b", "computes the greatest common divisor of two numbers", "## Euclid's method.\nwhile b:\n    a, b = b, a % b\nreturn a", "{i}, {j}"),
  ("lcm", "a, b", "computes the least common multiple of two numbers", "x, y = a, b\nwhile y:\n    x, y = y, x % y\nreturn a * b // x", "{i}, {j}"),
  ("power", "base, exponent", "raises a number to a power", "return base ** exponent", "{i}, 2"),
  ("celsius_to_fahrenheit", "celsius", "converts Celsius to Fahrenheit", "## Scale first, then shift.\nreturn celsius * 9 / 5 + 32", "{i}"),
  ("fahrenheit_to_celsius", "fahrenheit", "converts Fahrenheit to Celsius", "## Shift first, then scale.\nreturn (fahrenheit - 32) * 5 / 9", "{i}"),
  ("sum_digits", "n", "sums the digits of a number", "total = 0\nwhile n > 0:\n    ## Take the last digit.\n    total += n % 10\n    n //= 10\nreturn total", "{i}{j}"),
  ("sum_to", "n", "sums the numbers from 1 to n", "return n * (n + 1) // 2", "{i}"),
  ("first_letter", "text", "returns the first letter of a string", "return text[0]", '"{w}"'),
  ("last_item", "items", "returns the last item of a list", "return items[-1]", "{l}"),
  ("longest_word", "words", "finds the longest word in a list", "result = \"\"\nfor word in words:\n    ## Remember the longest word so far.\n    if len(word) > len(result):\n        result = word\nreturn result", "{t}"),
  ("join_words", "words", "joins words with spaces", "return \" \".join(words)", "{t}"),
  ("repeat_text", "text, times", "repeats a text", "return text * times", '"{w}", {i}'),
  ("area_of_circle", "radius", "computes the area of a circle", "## Pi times the square of the radius.\nreturn 3.14159 * radius ** 2", "{i}"),
  ("area_of_rectangle", "width, height", "computes the area of a rectangle", "return width * height", "{i}, {j}"),
  ("count_letter", "text, letter", "counts a letter in a string", "return text.count(letter)", '"{w}", "a"'),
  ("even_numbers", "numbers", "keeps the even numbers of a list", "## Keep what two divides.\nreturn [n for n in numbers if n % 2 == 0]", "{l}"),
  ("squares", "numbers", "squares all numbers in a list", "return [n * n for n in numbers]", "{l}"),
  ("to_binary", "n", "converts a number to binary", "## Cut off the prefix 0b.\nreturn bin(n)[2:]", "{i}"),
  ("is_leap_year", "year", "checks whether a year is a leap year", "## Every fourth year, but not every hundredth.\nif year % 400 == 0:\n    return True\nreturn year % 4 == 0 and year % 100 != 0", "20{i}"),
  ("flatten", "lists", "flattens a list of lists", "result = []\nfor items in lists:\n    result.extend(items)\nreturn result", "[{l}, {l}]"),
  ("count_items", "items", "counts how often each item occurs", "counts = {}\nfor item in items:\n    ## Start at zero for a new item.\n    counts[item] = counts.get(item, 0) + 1\nreturn counts", "{t}"),
  ("swap", "a, b", "swaps two values", "return b, a", "{i}, {j}"),
  ("absolute", "n", "computes the absolute value of a number", "if n < 0:\n    return -n\nreturn n", "-{i}"),
  ("clamp", "value, low, high", "limits a value to a range", "return max(low, min(value, high))", "{i}, 2, 5"),
  ("fizz_buzz", "n", "returns Fizz, Buzz or the number", "## Both divisors first.\nif n % 15 == 0:\n    return \"FizzBuzz\"\nif n % 3 == 0:\n    return \"Fizz\"\nif n % 5 == 0:\n    return \"Buzz\"\nreturn str(n)", "{i}"),
  ("quick_sort", "numbers", "sorts a list with quicksort", "## Short lists are sorted already.\nif len(numbers) < 2:\n    return numbers\n## Split the rest around the first number.\npivot = numbers[0]\nsmaller = [n for n in numbers[1:] if n < pivot]\nlarger = [n for n in numbers[1:] if n >= pivot]\nreturn quick_sort(smaller) + [pivot] + quick_sort(larger)", "{l}"),
  ("merge_sort", "numbers", "sorts a list with merge sort", "if len(numbers) < 2:\n    return numbers\nmiddle = len(numbers) // 2\nleft, right = merge_sort(numbers[:middle]), merge_sort(numbers[middle:])\nresult = []\n## Take the smaller head each time.\nwhile left and right:\n    result.append(left.pop(0) if left[0] <= right[0] else right.pop(0))\nreturn result + left + right", "{l}"),
  ("insertion_sort", "numbers", "sorts a list with insertion sort", "result = []\nfor number in numbers:\n    ## Find the place of the number.\n    place = len(result)\n    while place > 0 and result[place - 1] > number:\n        place -= 1\n    result.insert(place, number)\nreturn result", "{l}"),
  ("linear_search", "items, target", "searches a list from start to end", "for index, item in enumerate(items):\n    if item == target:\n        return index\nreturn -1", "{l}, {i}"),
  ("divisors", "n", "lists the divisors of a number", "return [d for d in range(1, n + 1) if n % d == 0]", "{i}"),
  ("primes_up_to", "limit", "lists the primes up to a limit", "result = []\nfor n in range(2, limit + 1):\n    ## A prime has no smaller prime as a divisor.\n    if all(n % p for p in result):\n        result.append(n)\nreturn result", "{i}0"),
  ("is_anagram", "a, b", "checks whether two words are anagrams", "return sorted(a.lower()) == sorted(b.lower())", '"{w}", "{v}"'),
  ("remove_vowels", "text", "removes the vowels from a string", "return \"\".join(c for c in text if c.lower() not in \"aeiou\")", '"{w}"'),
  ("median", "numbers", "computes the median of a list", "numbers = sorted(numbers)\nmiddle = len(numbers) // 2\nif len(numbers) % 2 == 1:\n    return numbers[middle]\nreturn (numbers[middle - 1] + numbers[middle]) / 2", "{l}"),
  ("capitalize_words", "text", "capitalizes each word of a text", "return \" \".join(word.capitalize() for word in text.split())", '"{w} {v}"'),
]]


def plain(body):
    return [line for line in body.split("\n") if not line.lstrip().startswith("##")]


def commented(body):
    return [line.replace("##", "#", 1) if line.lstrip().startswith("##") else line for line in body.split("\n")]


def has_comment(body):
    return "##" in body


def call(rng, arguments, words):
    while "{" in arguments:
        before = arguments
        for key, make in (("{i}", lambda: str(rng.randint(1, 12))), ("{j}", lambda: str(rng.randint(1, 9))), ("{w}", lambda: rng.choice(words)),
                          ("{v}", lambda: rng.choice(words)), ("{l}", lambda: str([rng.randint(0, 20) for _ in range(rng.randint(3, 6))])),
                          ("{t}", lambda: "[" + ", ".join('"' + rng.choice(words) + '"' for _ in range(3)) + "]")):
            while key in arguments:
                arguments = arguments.replace(key, make(), 1)
        if arguments == before:
            break
    return arguments
